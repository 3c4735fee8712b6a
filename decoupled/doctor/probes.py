"""Probes: measure this machine, and how far a connection from it comes. They judge nothing."""

import math
import os
import resource
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from threadpoolctl import threadpool_info

from decoupled.doctor.reachability import Reach
from decoupled.transport.address import host_and_port

CONNECT_S = 2.0
SOMEWHERE = "192.0.2.1"  # on no network (RFC 5737); nothing is sent there


def pools() -> list[tuple[str, int]]:
    """The BLAS libraries that are loaded, with the threads of each."""
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return [(f"{info['internal_api']} {info['version']}", int(info["num_threads"])) for info in found]


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def open_files() -> tuple[float, float]:
    """How many a process may have open, and how many it may ask for."""
    soft, hard = (math.inf if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return soft, hard


def temp_folder() -> str:
    """Where Python makes temporary files, or would if it could."""
    try:
        return tempfile.gettempdir()
    except OSError:  # it has tried everywhere, as on a file system that is read-only
        return os.environ.get("TMPDIR", "/tmp")


def socket_problem(folder: str) -> str:
    """Why no socket file can be made in a new folder there, or ""."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="decoupled-") as inner, socket.socket(socket.AF_UNIX) as trial:
            trial.bind(f"{inner}/coordinator")
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else str(error)
    return ""


def folder_problem(folder: Path) -> str:
    """Why no folder could be made there, or ""."""
    there = _nearest(folder)
    return "" if there.is_dir() and os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written"


def free(folder: Path) -> int:
    """Bytes that are free on its disk."""
    return shutil.disk_usage(_nearest(folder)).free


def _nearest(folder: Path) -> Path:
    """The folder, or that of those round it which exists."""
    return next(there for there in (folder, *folder.absolute().parents) if there.exists())


def shared_memory() -> int | None:
    """Bytes that /dev/shm may hold; None where there is none."""
    with suppress(OSError):
        return shutil.disk_usage("/dev/shm").total
    return None


def kernels() -> tuple[Path | None, int]:
    """Where numba keeps compiled kernels, if it can anywhere, and how many of them it has there."""
    import numba  # here, because that takes most of a second

    from decoupled.nn.kernels import adam

    try:
        kept_in = str(numba.njit(cache=True)(vars(adam)["__wrapped__"]).stats.cache_path)
    except RuntimeError:
        return None, 0
    folder = Path(kept_in)
    return folder, len(list(folder.glob("kernels.*.nbi")))


def numbers(host: str, family: int = 0) -> list[str]:
    """What a name stands for here; nothing when it is unknown."""
    with suppress(OSError, UnicodeError):
        return list(dict.fromkeys(str(one[4][0]) for one in socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)))
    return []


def outward(towards: str = SOMEWHERE) -> str:
    """The address that this host has where it would send something to that number, or "" when it has none."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.connect((towards, 9))  # decides on a route, and sends nothing
        return str(trial.getsockname()[0])
    return ""


def reach(address: str) -> Reach:
    """How far a connection to that file, or that number and port, comes."""
    family, where = _place(address)
    try:
        with socket.socket(family) as link:
            link.settimeout(CONNECT_S)
            link.connect(where)
            return "open" if _greets(link) else "mute"
    except (ConnectionRefusedError, FileNotFoundError):
        return "shut"
    except TimeoutError:
        return "silent"
    except OSError:
        return "far"


def _greets(link: socket.socket) -> bool:
    """Whether ZeroMQ's signature comes, which each side sends at once."""
    with suppress(OSError):
        said = link.recv(10)
        return said[:1] == b"\xff" and said[9:] == b"\x7f"
    return False


def _place(address: str) -> tuple[int, str | tuple[str, int]]:
    """The family and the address of its socket."""
    if address.startswith("ipc://"):
        return socket.AF_UNIX, address.removeprefix("ipc://")
    host, port = host_and_port(address)
    return socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port))
