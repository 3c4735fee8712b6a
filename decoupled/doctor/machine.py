"""What to think of a machine. Pure: what was measured comes in, a finding goes out."""

import ipaddress
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from decoupled.doctor.finding import Finding, judged
from decoupled.transport.address import PATH_BYTES_MAX

MB = 1 << 20
COORDINATOR_MB, WORKER_MB = 200, 250  # of memory, with layers of the default size
FILES, FILES_OF_WORKER = 64, 4  # that a coordinator opens by itself, and for each worker
SOCKET_FILE = "decoupled-12345678/coordinator-1234"  # like the longest that is made in the temp folder
LITTLE_MB = 500  # free on a disk


def versions(found: Mapping[str, str], has_curve: bool) -> Finding:
    """Of the package and of what it stands on."""
    advice = "This libzmq was built without CURVE, so --keys cannot be used. Install pyzmq's own wheel: pip install pyzmq"
    return judged("versions", listed(found), (not has_curve, "warn", advice))


def listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def cores(allowed: int, quota: float | None, workers: int, threads: int) -> Finding:
    """Those that a process may use, and the share of their time that its container (a cgroup) may have."""
    limit = allowed if quota is None else min(allowed, quota)
    seen = f"{allowed}" if quota is None or quota >= allowed else f"{allowed}, of which the container may use {quota:g}"
    advice = (
        f"{workers} workers take turns on them: training works, but whoever waits for a core decouples nothing. "
        "--workers N puts the layers into fewer processes, and other hosts bring more cores."
    )
    return judged("cores", f"{seen}, for {workers} workers", (limit < workers * threads, "warn", advice))


def blas(pools: Sequence[tuple[str, int]], threads: int, settings: Mapping[str, str]) -> Finding:
    """The libraries that multiply matrices, with the threads that each would take by itself, and what the environment says."""
    if not pools:
        advice = "Each worker may take all cores and slow the others down. Install numpy's own wheel: pip install numpy"
        return Finding("BLAS", "warn", "none whose threads can be limited", advice)
    by_itself = ", ".join(f"{name} would take {count}" for name, count in pools)
    said = "".join(f"; {name}={value} is set" for name, value in settings.items())
    return Finding("BLAS", "ok", f"{by_itself}{said}; each worker is held to {threads} (runtime.threads)")


def memory(available: int, limit: int | None, workers: int) -> Finding:
    """What the machine has left, and what its container may have, in bytes."""
    least, needed = available if limit is None else min(available, limit), COORDINATOR_MB + workers * WORKER_MB
    container = "" if limit is None else f", and the container may have {size(limit)}"
    advice = "The system may kill workers. Start fewer of them (--workers N), or give the container or machine more."
    seen = f"{size(available)} free{container}; {workers} workers need {size(needed * MB)} or so"
    return judged("memory", seen, (least < needed * MB, "warn", advice))


def files(limit: float, most: float, workers: int) -> Finding:
    """How many a process may have open, and how many it may ask for."""
    needed = FILES + FILES_OF_WORKER * workers
    advice = f"A coordinator of {workers} workers may need {needed:,}. " + (
        f"Raise it where you start it: ulimit -n {needed}"
        if most >= needed
        else f"Raise the hard limit ({most:,}) in limits.conf or the container's ulimits."
    )
    enough = max(limit - FILES, 0) // FILES_OF_WORKER
    seen = "as many as one likes" if math.isinf(limit) else f"{limit:,} for a process, enough for {enough:,} workers"
    return judged("open files", seen, (limit < needed, "fail", advice))


def temp(folder: str, problem: str, free: int) -> Finding:
    """Where the socket files of local links are. `problem` says why none could be made there."""
    length = len(f"{folder}/{SOCKET_FILE}".encode())
    return judged(
        "temp folder",
        f"{folder}, {size(free)} free" + (f"; no socket can be made there: {problem}" if problem else ""),
        (length > PATH_BYTES_MAX, "fail", f"Its name is too long for socket files by {length - PATH_BYTES_MAX}. Set TMPDIR=/tmp"),
        (bool(problem), "fail", "Workers on this machine cannot be linked. Set TMPDIR to a folder that can be written."),
        (free < LITTLE_MB * MB, "warn", "Make room there, or set TMPDIR to a folder with more."),
    )


def shared_memory(total: int | None) -> Finding:
    """/dev/shm, of which containers often have little."""
    seen = "no /dev/shm" if total is None else f"{size(total)} in /dev/shm"
    return Finding("shared memory", "ok", f"{seen}; none is needed, as local links are socket files")


def runs(folder: Path, problem: str, free: int) -> Finding:
    """Where the folders of runs are made, unless --out says otherwise."""
    return judged(
        "runs folder",
        f"{folder}, " + (problem or f"{size(free)} free"),
        (bool(problem), "fail", "Choose a folder that can be written, with --out, or go to another one."),
        (free < LITTLE_MB * MB, "warn", "A run keeps three checkpoints, and stops saving when the disk is full. Make room."),
    )


def kernels(folder: Path | None, compiled: int) -> Finding:
    """Where numba keeps what it has compiled, and how many files there are."""
    advice = "Every worker compiles anew, some seconds at each start. Set NUMBA_CACHE_DIR to a folder that can be written."
    done = "compiled" if compiled else "the first run compiles them, for some seconds"
    seen = "no folder in which numba could keep them" if folder is None else f"{done}; kept in {folder}"
    return judged("kernels", seen, (folder is None, "warn", advice))


def port(number: int, what: str, problem: str, holder: str, instead: str) -> Finding:
    """The port that is the default of something; `problem` says why it cannot be had, `holder` who has it."""
    title = f"port {number}"
    if not problem:
        return Finding(title, "ok", f"free, for {what}")
    seen = f"{problem}, by {holder}" if holder else problem
    return Finding(title, "warn", f"{seen}; it is where {what} would be", f"Stop that, or choose another: {instead}")


def name(own: str, numbers: Sequence[str], outward: str) -> Finding:
    """The name of this host, what it stands for here, and the address by which it goes to other networks, if it can."""
    advice = f"That matters only to runs over several hosts: there, give {outward} as --host or in --bind, not {own}."
    stands_for = f"{own} stands for {', '.join(numbers) or 'no address'} here"
    others = f"; others reach {outward}" if outward else "; this host has no way to other networks"
    is_reachable = any(not ipaddress.ip_address(number).is_loopback for number in numbers)
    return judged("host name", stands_for + others, (outward != "" and not is_reachable, "warn", advice))


def size(amount: float) -> str:
    """Bytes for a reader."""
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"
