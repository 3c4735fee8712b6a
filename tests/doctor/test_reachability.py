"""What is thought of the way to a coordinator, from what was tried and what it said."""

from dataclasses import replace

import pytest

from decoupled.doctor import reachability
from decoupled.doctor.reachability import Talk
from decoupled.runtime.status import Answer, WorkerStatus

MINE = {"decoupled": "0.1.0", "python": "3.11.2", "numpy": "2.1.0", "pyzmq": "26.0", "libzmq": "4.3.5", "blas": "openblas 0.3.2"}
WORKER = WorkerStatus(1, "b", "tcp://10.0.0.2:4000", MINE)
ANSWER = Answer("a", 0, 4, 1, False, MINE, (WORKER,))
THERE = "tcp://10.0.0.1:5555"


def test_the_name_of_the_coordinators_host_must_stand_for_something() -> None:
    assert reachability.named("a", ["10.0.0.1"], 0.1).state == "ok"
    assert reachability.named("a", [], 0.1).state == "fail"
    slow = reachability.named("a", ["10.0.0.1"], 3.0)
    assert (slow.state, "3.0 s" in slow.advice) == ("warn", True)


def test_an_inbox_that_cannot_be_is_told_of_with_the_address_that_could() -> None:
    assert reachability.inbox("tcp://10.0.0.2:4000", "", "").state == "ok"
    refused = reachability.inbox("", "127.0.0.1 cannot be reached.", "10.0.0.2")
    assert refused.state == "fail"
    assert "--host 10.0.0.2" in refused.advice
    assert reachability.inbox("", "no", "").advice == ""


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (ANSWER, f"{THERE} on a waits, with 1 of 4 workers"),
        (replace(ANSWER, is_training=True, joined=3), f"{THERE} on a trains, with 3 of 4 workers"),
    ],
)
def test_a_coordinator_that_answers_is_told_of(answer: Answer, seen: str) -> None:
    assert reachability.met(THERE, Talk(answer), "open").seen == seen
    full = reachability.met(THERE, Talk(replace(answer, joined=4)), "open")
    assert (full.state, "one more worker would be refused" in full.advice) == ("ok", True)


@pytest.mark.parametrize(
    ("talk", "reach", "said"),
    [
        (Talk(), "shut", "Start the coordinator"),
        (Talk(complaint="it breaks off"), "mute", "Another program has that port"),
        (Talk(), "silent", "firewall"),
        (Talk(), "far", "on one network"),
        (Talk(), "open", "older version"),
        (Talk(complaint="It refused this process, because it does not know its public key."), "open", "folder that the coord"),
        (Talk(complaint="It breaks off. Has it another key than is expected of it, or none?"), "open", "Copy this worker's"),
        (Talk(complaint="It runs with keys and this process without. Start both with --keys."), "open", "Start both"),
    ],
)
def test_one_that_does_not_answer_is_told_of_with_the_reason(talk: Talk, reach: reachability.Reach, said: str) -> None:
    found = reachability.met(THERE, talk, reach)

    assert found.state == "fail"
    assert said in found.seen + found.advice


@pytest.mark.parametrize(
    ("coordinator", "worker", "state", "seen"),
    [
        ({}, {}, "ok", "the same here and there, and in every worker"),
        ({"decoupled": "0.2.0"}, {}, "fail", "the coordinator has decoupled 0.2.0"),
        ({}, {"python": "3.12.1"}, "warn", "stage 1 on b has python 3.12.1"),
        ({"python": "3.11.9", "libzmq": "4.2.0"}, {}, "ok", "the coordinator has python 3.11.9, libzmq 4.2.0"),
        ({"numpy": "2.2.0"}, {"libzmq": "5.0.0"}, "warn", "the coordinator has numpy 2.2.0; stage 1 on b has libzmq 5.0.0"),
        ({"blas": "mkl 2024"}, {}, "warn", "the coordinator has blas mkl 2024"),
    ],
)
def test_the_odd_one_out_is_named(coordinator: dict[str, str], worker: dict[str, str], state: str, seen: str) -> None:
    answer = replace(ANSWER, versions=MINE | coordinator, workers=(replace(WORKER, versions=MINE | worker),))

    found = reachability.versions(MINE, answer)

    assert (found.state, found.seen) == (state, seen)


def test_versions_without_workers_are_those_of_the_coordinator() -> None:
    assert reachability.versions(MINE, replace(ANSWER, workers=())).seen == "the same here and there"


@pytest.mark.parametrize(
    ("ahead_ms", "trip_ms", "state"),
    [(0, 0.2, "ok"), (9, 1, "ok"), (-9, 1, "ok"), (11, 1, "warn"), (-11, 1, "warn"), (30, 60, "ok"), (3_600_000, 60, "warn")],
)
def test_clocks_are_apart_only_beyond_what_the_way_there_hides(ahead_ms: float, trip_ms: float, state: str) -> None:
    found = reachability.clocks(round(ahead_ms * 1e6), round(trip_ms * 1e6))

    assert found.state == state
    assert ("behind" if ahead_ms <= 0 else "ahead") in found.seen


def test_workers_that_cannot_be_reached_are_named_with_the_reason() -> None:
    here = replace(WORKER, stage=0, address="tcp://127.0.0.1:4000")

    assert reachability.inboxes([], is_far=True).seen == "none has joined yet; ask again when some have"
    reached = reachability.inboxes([(here, "open"), (WORKER, "open"), (replace(WORKER, stage=2, host="c"), "open")], is_far=True)
    assert (reached.state, reached.seen) == ("ok", "3 of 3 can be reached from here: stage 0, 1 on b; stage 2 on c")
    firewall = reachability.inboxes([(WORKER, "silent"), (here, "open")], is_far=True)
    assert firewall.state == "fail"
    assert firewall.seen.startswith("stage 1 on b at tcp://10.0.0.2:4000: ")
    assert "32768 and above" in firewall.advice
    assert "127.0.0.1 is each host's own" in reachability.inboxes([(here, "shut")], is_far=True).advice
    assert "127.0.0.1 is each host's own" not in reachability.inboxes([(here, "shut")], is_far=False).advice
