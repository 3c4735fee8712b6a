"""Faults on purpose: which stage's messages suffer, and when which process is struck. Nobody is."""

from dataclasses import replace
from typing import Any

import pytest

from decoupled.config import Fault, Run
from decoupled.runtime.assignment import Assignment, assign
from decoupled.runtime.connection import upstream_prefix
from decoupled.runtime.executor import COORDINATOR, DOWNSTREAM
from decoupled.runtime.faults import FaultInjector, RegularKills, after_rollback, link_faults, strike_self
from decoupled.runtime.resolve import resolve
from decoupled.transport.faulty import LinkFault
from tests.cluster import Cluster
from tests.datasets import blobs

DATA = blobs(train=20, test=5)


def kill(stage: int, microbatch: int, kind: Any = "kill") -> Fault:
    return Fault(kind=kind, stage=stage, microbatch=microbatch)


def assigned(stage: int, *faults: Fault, **values: Any) -> Assignment:
    """That of one of four stages."""
    return assign(resolve(Run(hidden=(4, 4, 4), faults=faults, **values), DATA), stage, attempt_id="r1")


def struck(stage: int, faults: list[Fault], reached: list[int], generation: int = 0) -> list[list[int]]:
    """The microbatches of the faults that strike at each of those that the stage trains on."""
    strokes = list[int]()
    injector, found = (
        FaultInjector(replace(assigned(stage, *faults), generation=generation), lambda fault: strokes.append(fault.microbatch)),
        [],
    )
    for microbatch in reached:
        injector.reached(microbatch)
        found.append(strokes[:])
        strokes.clear()
    return found


def test_without_faults_and_emulation_nothing_suffers() -> None:
    assert link_faults(assigned(1)) == []


@pytest.mark.parametrize("stage", range(4))
def test_emulated_links_are_slow_and_lossy_at_every_stage(stage: int) -> None:
    found = link_faults(assigned(stage, emulation={"latency_ms": 20, "drop": 0.25}))

    assert found == [LinkFault(latency_s=0.02, drop=0.25)]


@pytest.mark.parametrize(
    ("stage", "above", "below"),
    [(0, 1, 1), (1, 1, 4), (2, 4, 2), (3, 2, 1)],
)
def test_links_of_different_speed_are_slow_by_their_own_factor_at_both_ends(stage: int, above: float, below: float) -> None:
    """The feed's link and those to the coordinator are as they would be."""
    emulation = {"latency_ms": 8, "jitter_ms": 4, "bandwidth_mbit": 16, "drop": 0.25, "link_factors": (1, 4, 2)}
    found = {fault.peer: fault for fault in link_faults(assigned(stage, emulation=emulation))}

    assert {peer: (fault.latency_s, fault.jitter_s, fault.bytes_per_s) for peer, fault in found.items()} == {
        peer: (0.008 * factor, 0.004 * factor, 2e6 / factor)
        for peer, factor in ((upstream_prefix("r1"), above), (DOWNSTREAM, below), (COORDINATOR, 1))
    }
    assert {fault.drop for fault in found.values()} == {0.25}


def test_regular_kills_strike_one_stage_after_the_other_once_each_time() -> None:
    kills = RegularKills(30, stages=3)
    moments = (0, 29, 31, 45, 60, 91, 200)

    assert [[fault.stage for fault in kills.due(now, True)] for now in moments] == [[], [], [0], [], [1], [2], [0]]


def test_a_kill_passes_while_a_worker_is_missing() -> None:
    kills = RegularKills(30, stages=3)

    assert [kills.due(31, False), kills.due(35, True)] == [[], []]
    assert [fault.stage for fault in kills.due(60, True)] == [0]


def test_every_stage_has_its_turn_where_every_second_kill_passes() -> None:
    kills = RegularKills(5, stages=2)

    assert [fault.stage for tick in range(1, 9) for fault in kills.due(5 * tick, tick % 2 == 1)] == [0, 1, 0, 1]


def test_without_an_interval_nobody_is_killed() -> None:
    assert RegularKills(None, stages=3).due(1e9, True) == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(kind="drop", stage=1, share=0.5), LinkFault(drop=0.5)),
        (
            Fault(kind="drop", stage=1, microbatch=30, share=0.5, seconds=2),
            LinkFault(drop=0.5, from_microbatch=30, seconds=2),
        ),
        (Fault(kind="delay", stage=1, ms=40), LinkFault(latency_s=0.04)),
        (Fault(kind="delay", stage=1, microbatch=7, ms=40, seconds=3), LinkFault(latency_s=0.04, from_microbatch=7, seconds=3)),
    ],
    ids=str,
)
def test_what_comes_to_a_stage_is_lost_or_late_there_and_nowhere_else(fault: Fault, expected: LinkFault) -> None:
    assert [link_faults(assigned(stage, fault)) for stage in range(4)] == [[], [expected], [], []]


def test_a_partition_holds_what_crosses_it_at_both_of_its_ends() -> None:
    fault = Fault(kind="partition", stage=1, microbatch=9, seconds=5)

    found = [link_faults(assigned(stage, fault)) for stage in range(4)]

    (above,), (below,) = found[1], found[2]
    assert (found[0], found[3]) == ([], [])
    assert above == LinkFault(holds=True, peer="downstream", from_microbatch=9, seconds=5)
    assert (below.holds, below.from_microbatch, below.seconds) == (True, 9, 5)
    assert below.peer == upstream_prefix("r1"), "whichever worker and link it is"
    assert not upstream_prefix("r2").startswith(below.peer)
    assert not any(peer.startswith(below.peer) for peer in ("coordinator", "downstream"))


def test_several_at_one_stage_add_up_with_the_emulation() -> None:
    faults = [Fault(kind="delay", stage=2, ms=10), Fault(kind="drop", stage=2, share=0.1)]

    found = link_faults(assigned(2, *faults, emulation={"latency_ms": 5}))

    assert found == [LinkFault(latency_s=0.005), LinkFault(latency_s=0.01), LinkFault(drop=0.1)]


def test_a_fault_strikes_once_when_its_stage_gets_to_its_microbatch() -> None:
    assert struck(1, [kill(1, 5)], [0, 4, 5, 5, 6]) == [[], [], [5], [], []]
    assert struck(1, [kill(1, 5)], [0, 4, 6, 7]) == [[], [], [5], []], "that one may have been dropped"
    assert struck(1, [kill(1, 0)], [0, 1]) == [[0], []]


def test_faults_strike_in_the_order_of_their_microbatches() -> None:
    assert struck(1, [kill(1, 8), kill(1, 3, "stop"), kill(1, 5)], [2, 3, 6, 8]) == [[], [3], [5], [8]]


def test_only_kill_and_stop_strike_and_only_at_their_stage() -> None:
    faults = [kill(0, 1), kill(2, 1), Fault(kind="drop", stage=1, share=0.5), Fault(kind="partition", stage=1, seconds=1)]

    assert struck(1, faults, [0, 10]) == [[], []]


def test_a_successor_is_spared_what_lies_behind_it_and_gets_the_rest() -> None:
    assert struck(1, [kill(1, 5), kill(1, 9)], [7, 8, 9], generation=1) == [[], [], [9]]
    assert struck(1, [kill(1, 5)], [7], generation=0) == [[5]], "the first may have missed that microbatch"


def test_after_a_rollback_nothing_strikes_that_can_have_struck() -> None:
    faults = (kill(1, 5), kill(1, 50), kill(2, 9, "stop"), Fault(kind="delay", stage=1, ms=5))

    assert after_rollback(faults, 20) == (faults[1], faults[3])
    assert after_rollback(faults, 4) == faults, "something else was the reason"


def test_a_fault_that_is_asked_for_strikes_the_worker_of_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    struck = list[Fault]()
    monkeypatch.setattr("decoupled.runtime.worker.strike_self", struck.append)
    cluster = Cluster(Run(hidden=(4, 4), batch=10, epochs=1), DATA)
    cluster.assemble()

    cluster.coordinator.group.inject(Fault(kind="stop", stage=1, seconds=5))
    cluster.run()

    assert struck == [Fault(kind="stop", stage=1, seconds=5)]


def test_a_fault_for_a_stage_that_has_no_worker_or_is_none_strikes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    struck = list[Fault]()
    monkeypatch.setattr("decoupled.runtime.worker.strike_self", struck.append)
    cluster = Cluster(Run(hidden=(4, 4), batch=10, epochs=1), DATA)

    for stage in (0, 3):
        cluster.coordinator.group.inject(kill(stage, 0))
    cluster.run()

    assert struck == []


@pytest.mark.parametrize("kind", ["drop", "delay", "partition"])
def test_a_process_suffers_only_what_strikes_processes(kind: str) -> None:
    values: dict[str, Any] = {"drop": {"share": 0.5}, "delay": {"ms": 1.0}, "partition": {"seconds": 1.0}}[kind]

    with pytest.raises(ValueError, match=f"cannot suffer {kind}"):
        strike_self(Fault(kind=kind, stage=0, **values))
