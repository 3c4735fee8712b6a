"""How reachable a coordinator is. Pure: what was tried and said comes in, a finding goes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from decoupled.doctor.finding import Finding, judged
from decoupled.doctor.machine import listed
from decoupled.runtime.status import Answer, WorkerStatus
from decoupled.transport.address import is_loopback

SKEW_MS = 10.0  # about as long as a computation
SLOW_S = 1.0  # to look a name up

# mute: open, and what is behind it speaks no ZeroMQ
Reach: TypeAlias = Literal["open", "mute", "shut", "silent", "far"]
TROUBLES: dict[Reach, tuple[str, str]] = {
    "mute": (
        "something takes connections there, but it does not speak as a process of decoupled does",
        "Another program has that port, a proxy stands before one that nothing has, or the coordinator is stopped. Compare "
        "the address that it prints when it starts.",
    ),
    "shut": (
        "nothing listens there",
        "Start the coordinator, or correct the port. One that is bound to 127.0.0.1 is there for its own host alone.",
    ),
    "silent": (
        "it does not answer",
        "A firewall, or a network policy, swallows what goes there, or the host is off. Let that port through.",
    ),
    "far": ("there is no way to it", "Both hosts must be on one network: look at the address, the routes and the VPN."),
}


@dataclass(frozen=True, slots=True)
class Talk:
    """What came of asking a coordinator: its answer and clock, or why there was none."""

    answer: Answer | None = None
    ahead_ns: int = 0  # its clock, of this one
    trip_ns: int = 0  # there and back
    complaint: str = ""  # of the link, if it had one


def named(host: str, numbers: Sequence[str], seconds: float) -> Finding:
    """What the name of the coordinator's host stands for here."""
    if not numbers:
        advice = "Correct the name, or enter it in the DNS or /etc/hosts of this host; a number works without."
        return Finding("address", "fail", f"there is no host {host}", advice)
    advice = "Every start waits for that. Give the number instead, or look at /etc/resolv.conf."
    return judged(
        "address", f"{host} is {', '.join(numbers)}", (seconds > SLOW_S, "warn", f"That took {seconds:.1f} s. {advice}")
    )


def inbox(where: str, problem: str, outward: str) -> Finding:
    """Whether a worker could listen on --host; `outward` is the address by which this host reaches the coordinator."""
    if not problem:
        return Finding("inbox", "ok", f"a worker can listen at {where}")
    return Finding(
        "inbox", "fail", problem, f"This host reaches the coordinator from {outward}: --host {outward}" if outward else ""
    )


def met(address: str, talk: Talk, reach: Reach) -> Finding:
    """Whether the coordinator is there and lets us in; `reach` counts only if it did not answer."""
    if talk.answer is not None:
        return _stands(address, talk.answer)
    if reach in TROUBLES:
        seen, advice = TROUBLES[reach]
        return Finding("coordinator", "fail", f"{address}: {seen}", advice)
    if talk.complaint:
        return Finding("coordinator", "fail", talk.complaint.removesuffix(" Still trying."), _about_keys(talk.complaint))
    advice = (
        "It may be a coordinator of an older version, one that is stopped, or a worker's inbox. "
        "Compare `decoupled --version` there and here."
    )
    return Finding("coordinator", "fail", f"{address} takes the connection, but does not answer", advice)


def _about_keys(complaint: str) -> str:
    if "public key" in complaint:
        return "Put this worker's .key into the folder that the coordinator has as --keys, and start the coordinator again."
    if "want keys" in complaint:
        return "Give --keys with the folder that was made for this worker (decoupled keys make)."
    if "another key" in complaint:
        return "Copy this worker's folder of keys anew from where the coordinator's were made (decoupled keys make)."
    return ""


def _stands(address: str, answer: Answer) -> Finding:
    doing = "trains" if answer.is_training else "waits"
    seen = f"{address} on {answer.host} {doing}, with {answer.joined} of {answer.stages} workers"
    advice = "All stages are taken, so one more worker would be refused until one of these is lost."
    return Finding("coordinator", "ok", seen, advice if answer.joined == answer.stages else "")


def versions(mine: Mapping[str, str], answer: Answer) -> Finding:
    """Of the coordinator and of each worker, where they differ from those here."""
    others = [("the coordinator", answer.versions), *((f"stage {w.stage} on {w.host}", w.versions) for w in answer.workers)]
    differing = {who: {n: v for n, v in theirs.items() if v != mine.get(n)} for who, theirs in others}
    odd = [f"{who} has {listed(which)}" for who, which in differing.items() if which]
    seen = "; ".join(odd) if odd else f"the same here and there{', and in every worker' if answer.workers else ''}"
    refused = "A worker is refused by a coordinator of another version. Install the same decoupled on all hosts."
    advice = "Training works, but results and speed may differ from host to host. Install the same on all."
    return judged(
        "versions there",
        seen,
        (differing["the coordinator"].keys() >= {"decoupled"}, "fail", refused),
        (
            any(_major(n, v) != _major(n, mine.get(n, "")) for which in differing.values() for n, v in which.items()),
            "warn",
            advice,
        ),
    )


def _major(name: str, version: str) -> str:
    """What of a version changes what is computed or how it travels."""
    return ".".join(version.split(".")[: 1 if "zmq" in name else 2])


def clocks(ahead_ns: int, trip_ns: int) -> Finding:
    """How far apart the clocks are, which is known up to half the time there and back."""
    ahead_ms, doubt_ms = ahead_ns / 1e6, trip_ns / 2e6
    seen = f"the coordinator's is {abs(ahead_ms):,.2f} ms {'ahead' if ahead_ms > 0 else 'behind'}, give or take {doubt_ms:.2f}"
    advice = (
        "Training does not depend on it, but the overlap, the trace, and the length and rate of a run over both hosts are "
        "reckoned from their clocks, and will be off. Have both hosts set theirs (chrony, systemd-timesyncd)."
    )
    return judged("clocks", seen, (abs(ahead_ms) - doubt_ms > SKEW_MS, "warn", advice))


def inboxes(workers: Sequence[tuple[WorkerStatus, Reach]], is_far: bool) -> Finding:
    """Whether the workers that have joined can be reached from here, as a worker here would have to reach the next one.

    `is_far` says that the coordinator was not called by a loopback address.
    """
    if not workers:
        return Finding("workers", "ok", "none has joined yet; ask again when some have")
    missed = [(worker, reach) for worker, reach in workers if reach != "open"]
    told = "; ".join(f"stage {w.stage} on {w.host} at {w.address}: {TROUBLES[reach][0]}" for w, reach in missed)
    hidden = is_far and any(is_loopback(worker.address) for worker, _ in missed)
    loopback = "127.0.0.1 is each host's own. Start that worker with --host and its host's address on the network."
    advice = (
        "Each worker needs its own host's address as --host, and hosts must let one another through on the ports that systems "
        "choose, 32768 and above. One that has just ended is told of here as well."
    )
    return judged(
        "workers",
        told or f"{len(workers)} of {len(workers)} can be reached from here: {_by_host([worker for worker, _ in workers])}",
        (hidden, "fail", loopback),
        (bool(missed), "fail", advice),
    )


def _by_host(workers: Sequence[WorkerStatus]) -> str:
    stages: dict[str, list[str]] = {}
    for worker in workers:
        stages.setdefault(worker.host, []).append(str(worker.stage))
    return "; ".join(f"stage {', '.join(which)} on {host}" for host, which in stages.items())
