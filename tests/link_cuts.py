"""Links that are cut between living workers: runs over real sockets, in which every link goes through a relay that can break it.

Workers are processes, as started by hand; the coordinator is in this process, beside the relays, and both work while they are
stepped. A cut resets the connection, at a random moment or while an evaluation is under way, and refuses others for a while.
`python -m tests.link_cuts` prints what became of each.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from subprocess import Popen

from decoupled.checkpoint import Store
from decoupled.config import Run
from decoupled.errors import DecoupledError
from decoupled.runtime.coordinator import Coordinator
from decoupled.runtime.feed_link import FEED
from decoupled.runtime.process import limits
from decoupled.runtime.report import Report
from decoupled.runtime.resolve import resolve
from decoupled.transport.interface import Arrival, Received
from decoupled.transport.zeromq import ZeroMQ
from decoupled.wire.messages import Kind
from tests.datasets import blobs
from tests.e2e.commands import started
from tests.tap import Tap

LINKS = ("feed-0", "0-1", "1-2")  # each to the stage of its index
SECONDS = (0.05, 0.5, 1.5, 5.0)
OVERFLOWS = ("block", "drop-oldest", "latest")
EVERY_S = 0.5  # from one checkpoint to the next
DEVICE_MS = 5.0  # for a layer and a batch, so that a run lasts as long on a fast machine
STAGE_S = 1.5 * DEVICE_MS / 1000  # at the least for a batch, with the head
TRAIN, BATCH = 240, 12
PATIENCE_S, END_S = 60.0, 240.0  # for anything, and for what is left after the last cut; a machine may be busy


@dataclass(frozen=True, slots=True)
class Cut:
    """A link that is reset, and refuses connections for so many seconds."""

    link: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One run and its cuts."""

    overflow: str
    evaluates: bool  # after every epoch, and each cut is made while an evaluation is under way
    cuts: Sequence[Cut]

    @property
    def run(self) -> Run:
        """Long enough for all cuts: two seconds for each, and the time for which the stages above it go on."""
        busy_s = sum(2.0 + (cut.seconds if self.overflow != "block" and cut.link > 0 else 0.0) for cut in self.cuts)
        return Run(
            hidden=(64, 64),
            batch=BATCH,
            epochs=round(busy_s / STAGE_S / (TRAIN / BATCH)),
            dni={"feedback": "chained", "overflow": self.overflow},
            checkpoint={"every_s": EVERY_S},
            runtime={"evaluate_every": int(self.evaluates)},
            emulation={"device_ms": DEVICE_MS},
        )


ALL_CUTS = tuple(Cut(link, seconds) for link, seconds in product(range(len(LINKS)), SECONDS))
PLANS = tuple(Plan(overflow, evaluates, ALL_CUTS) for overflow, evaluates in product(OVERFLOWS, (False, True)))


class Rerouted(ZeroMQ):
    """The coordinator's transport, which hears of every worker's inbox as that of a relay before it."""

    def __init__(self, run: Run, relay: Callable[[str], str]) -> None:
        super().__init__(limits(run.link), own=(FEED,))
        self._relay = relay

    def poll(self, timeout_s: float) -> list[Arrival]:
        return [self._rerouted(arrival) for arrival in super().poll(timeout_s)]

    def _rerouted(self, arrival: Arrival) -> Arrival:
        if not isinstance(arrival, Received) or arrival.message.kind is not Kind.JOIN:
            return arrival
        there = {"address": self._relay(str(arrival.message.body["address"]))}
        return replace(arrival, message=replace(arrival.message, body=arrival.message.body | there))


class Trial:
    """A run under way: its coordinator, its workers and the relays between them."""

    def __init__(self, stack: ExitStack, folder: Path, run: Run) -> None:
        """All that it opens is closed with the stack."""
        self._stack, self.warnings = stack, list[str]()
        resolved = resolve(run, blobs(train=TRAIN, test=30, features=64))
        self._store = Store(folder / "checkpoints", run.checkpoint.keep, self.warnings.append)
        stack.callback(self._store.finish)
        self._taps: dict[str, Tap] = {}  # by their own addresses
        transport = Rerouted(run, self._tapped)
        stack.callback(transport.close)
        address = transport.bind("tcp://127.0.0.1:*")
        self.coordinator = Coordinator(resolved, transport, self._store, starts_workers=False)
        self._workers = [self._start(address, folder) for _ in resolved.stages]

    def _start(self, address: str, folder: Path) -> "Popen[str]":
        worker = self._stack.enter_context(started("worker", "--join", address, cwd=folder))
        self._stack.callback(worker.kill)
        return worker

    def _tapped(self, inbox: str) -> str:
        tap = Tap(inbox)
        self._stack.callback(tap.close)
        self._taps[tap.address] = tap
        return tap.address

    def step(self) -> None:
        self.coordinator.step(0)
        for tap in self._taps.values():
            tap.poll(0.001)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Goes on until the condition holds, which it must before the run ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert not self.coordinator.is_done, f"the run ended before {what}"
            assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain for {what}"
            self.step()

    def cut(self, cut: Cut, pause_s: float, evaluates: bool) -> float:
        """Cuts a link after a pause; gives the seconds from its return to the next checkpoint that was begun after it."""
        stream, begun = self.coordinator.group.attempt.feed_link.stream, time.monotonic()
        self.until("a cut", lambda: time.monotonic() - begun >= pause_s and self.coordinator.is_training)
        if evaluates:
            self.until("an evaluation", lambda: stream.owes(stream.fed.number))
        tap = self._taps[self.coordinator.group.members.address(cut.link) or ""]
        assert tap.cut(cut.seconds), "there was no link to cut"
        self.until("a link's return", lambda: tap.is_open)
        returned, last, newest = time.monotonic(), self._store.last_saved, stream.fed.number - 1
        self.until("another checkpoint", lambda: self._store.last_saved not in (None, last) and self._store.last_saved >= newest)
        return time.monotonic() - returned

    def finish(self) -> Report:
        """Goes on to the end of the run; every worker ends by itself as one whose run is over."""
        deadline = time.monotonic() + END_S
        while not self.coordinator.is_done:
            assert time.monotonic() < deadline, "the run never ends"
            self.step()
        self.coordinator.stop(is_over=True, are_kept=False)
        for worker in self._workers:
            _, complaint = worker.communicate(timeout=PATIENCE_S)
            assert (worker.returncode, complaint) == (0, "")
        return self.coordinator.report()


def check(report: Report, run: Run) -> None:
    """Raises AssertionError unless no worker was lost, every evaluation was made, and every sample is accounted for."""
    assert [(one.restarts, one.generation) for one in report.workers_detail] == [(0, 0)] * len(LINKS), report.incidents
    every = run.runtime.evaluate_every or run.epochs
    assert [one.epoch for one in report.evaluations] == list(range(every, run.epochs + 1, every))
    for one in report.workers_detail:
        assert one.samples + one.samples_missed == run.epochs * TRAIN, f"stage {one.stage}"
        assert len(report.account.trained[one.stage]) + one.missed == len(report.account.fed), f"stage {one.stage}"


def carry_out(plan: Plan, folder: Path, seed: int, tell: Callable[[Cut, float], None] = lambda cut, after_s: None) -> None:
    """Makes all cuts of a plan in one run, in random order, and checks what it came to.

    `tell` hears of each cut, and of the seconds from the link's return to the next checkpoint.
    """
    rng, run = random.Random(seed), plan.run
    with ExitStack() as stack:
        trial = Trial(stack, folder, run)
        for cut in rng.sample(plan.cuts, len(plan.cuts)):
            tell(cut, trial.cut(cut, rng.uniform(0, EVERY_S), plan.evaluates))
        report = trial.finish()
        assert not trial.warnings
    check(report, run)


def main() -> None:
    loads, times = [os.getloadavg()[0]], list[float]()
    print("| link | overflow | seconds | evaluations | to the next checkpoint |\n| --- | --- | ---: | --- | ---: |")
    for seed, plan in enumerate(PLANS):
        under_way = "under way" if plan.evaluates else "none"

        def tell(cut: Cut, after_s: float, plan: Plan = plan, under_way: str = under_way) -> None:
            times.append(after_s)
            print(f"| {LINKS[cut.link]} | {plan.overflow} | {cut.seconds:g} | {under_way} | {after_s:.2f} s |", flush=True)

        with tempfile.TemporaryDirectory(prefix="decoupled-link-cuts-") as folder:
            carry_out(plan, Path(folder), seed, tell)
        loads.append(os.getloadavg()[0])
    in_time = sum(after_s <= 2 * EVERY_S for after_s in times)
    print(f"{len(times)} cuts in {len(PLANS)} runs, all of which ended; every evaluation was made, every sample accounted for")
    print(f"checkpoints: {in_time} within two intervals, median {median(times):.2f} s, at most {max(times):.2f} s")
    print(f"load average {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, DecoupledError) as error:
        sys.exit(f"error: {error}")
