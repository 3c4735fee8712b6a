"""What a stranger says changes nothing; what a member says that cannot be, costs its place or ends with a sentence."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decoupled.errors import DecoupledError, RunFailed
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.records import Record
from decoupled.telemetry.counters import Counters
from decoupled.transport.interface import Received
from decoupled.wire.messages import Kind, Message
from tests.cluster import Cluster
from tests.fuzz.originals import dataset, small
from tests.runtime.strangers import says, stranger, training

SPANS = np.zeros((0, 4), np.int64)
GOOD = Message(Kind.REPORT, body={"counters": Counters(1).to_body(), "at_ns": 1}, tensors=(SPANS,))


@pytest.mark.parametrize(
    "message",
    [
        Message(Kind.REPORT),
        replace(GOOD, tensors=()),
        replace(GOOD, tensors=(SPANS.astype(np.float64),)),
        replace(GOOD, tensors=(np.full((1, 4), 99),)),
        replace(GOOD, body=GOOD.body | {"at_ns": "now"}),
        replace(GOOD, body=GOOD.body | {"counters": Counters(1).to_body() | {"samples": "many"}}),
        replace(GOOD, body=GOOD.body | {"counters": Counters(1).to_body() | {"loss": {}, "staleness": 3}}),
        Message(Kind.EVALUATED, body={"loss": [], "correct": 1}),
        Message(Kind.RESULT, body={"name": "a", "shape": [1], "left": 0, "about": {}}, tensors=(np.zeros(1),)),
        Message(Kind.FAILED),
    ],
    ids=lambda message: message.kind.value,
)
def test_a_member_whose_message_is_malformed_is_replaced_and_the_run_goes_on(message: Message) -> None:
    cluster = training()

    says(cluster, "memory://1", "coordinator", message)
    cluster.run()

    first = cluster.coordinator.metrics.incidents[0]
    assert (first.stage, first.what) == (1, "lost")
    assert f"malformed {message.kind.value} message" in first.detail
    assert cluster.workers[1].is_done, "it was told to stop"
    assert [detail.restarts for detail in cluster.coordinator.report().workers_detail] == [0, 1, 0]


def test_a_part_of_an_evaluation_that_cannot_be_is_evaluated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = training()
    session = cluster.workers[2]._session
    assert session is not None
    body = {"loss": 1.0, "correct": 1, "answers": 1, "metrics": [1.0]}  # and the run measures no metric

    def misled(m: int, record: Record) -> list[tuple[str, Message]]:
        record.x = None
        return [("coordinator", Message(Kind.EVALUATED, microbatch=m, body=body))]

    monkeypatch.setattr(session._executor, "_evaluate", misled)
    cluster.run()

    report = cluster.coordinator.report()
    assert [detail.restarts for detail in report.workers_detail] == [0, 0, 1]
    assert report.evaluations


@pytest.mark.parametrize("message", [Message(Kind.CREDIT, body={"count": "all"}), Message(Kind.CREDIT)])
def test_the_first_stage_is_replaced_as_well_when_it_misleads_the_feed(message: Message) -> None:
    cluster = training()

    says(
        cluster,
        "memory://0",
        next(peer for at, peer in cluster.network.links if at == "memory://0" and "upstream" in peer),
        message,
    )
    cluster.run()

    assert [detail.restarts for detail in cluster.coordinator.report().workers_detail] == [1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        (Kind.ACTIVATION, ()),
        (Kind.ACTIVATION, (np.zeros((4, 9), np.float32), np.zeros(4, np.int64))),
        (Kind.ACTIVATION, (np.zeros((4, 4)), np.zeros(4, np.int64))),
        (Kind.ACTIVATION, (np.zeros((4, 4), np.float32), np.full(4, 3))),
        (Kind.ACTIVATION, (np.zeros((4, 4), np.float32), np.zeros(3, np.int64))),
        (Kind.ACTIVATION, (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))),
        (Kind.ACTIVATION, (np.float32(1).reshape(()), np.zeros(4, np.int64))),
    ],
)
def test_a_batch_that_does_not_fit_the_stage_ends_its_worker_with_a_sentence(kind: Kind, tensors: tuple[Any, ...]) -> None:
    cluster = training()

    below = next(peer for at, peer in cluster.network.links if at == "memory://0" and peer.startswith("downstream"))
    says(cluster, "memory://0", below, Message(kind, microbatch=10**6, tensors=tensors))

    with pytest.raises(RunFailed, match=r"upstream-.* sent a malformed activation message"):
        cluster.workers[1].step()


@pytest.mark.parametrize("body", [{}, {"run": {}, "architecture": [], "layers": 3}, {"stages": "3"}])
def test_an_assignment_that_is_none_ends_the_worker_with_a_sentence(body: dict[str, Any]) -> None:
    cluster = training()

    says(cluster, "memory://coordinator", "worker-0", Message(Kind.ASSIGN, body=body))

    with pytest.raises(DecoupledError, match="coordinator sent a malformed assign message"):
        cluster.workers[0].step()


def test_a_gradient_of_another_type_is_counted_and_ignored() -> None:
    cluster = training("lockstep")
    wrong = tuple(Message(Kind.GRADIENT, microbatch=m, tensors=(np.zeros((10, 4)),)) for m in range(4))

    for message in wrong:
        says(
            cluster,
            "memory://1",
            next(peer for at, peer in cluster.network.links if at == "memory://1" and "up" in peer),
            message,
        )
    cluster.run()

    assert cluster.coordinator.report().workers_detail[0].unmatched_gradients == len(wrong)


def test_results_that_are_not_the_network_end_the_run_with_a_sentence() -> None:
    cluster = training()
    cluster.run()
    del cluster.coordinator.group.attempt.results[1].arrays["trained"]

    with pytest.raises(RunFailed, match="do not make the network"):
        cluster.coordinator.report()


def test_a_stranger_is_refused_once_and_does_not_learn_the_name_of_the_run() -> None:
    cluster = training()
    asking = stranger(cluster, "memory://coordinator")
    for _ in range(50):
        asking.send("victim", Message(Kind.JOIN, body={"version": "x" * 100_000}))
    cluster.coordinator.step(0)
    said = [arrival.message for arrival in asking.poll(0) if isinstance(arrival, Received)]

    assert [message.kind for message in said] == [Kind.REFUSE]
    assert (said[0].run, len(str(said[0].body)) < 500) == ("", True)


def test_greetings_of_strangers_do_not_push_out_that_of_the_upstream_stage() -> None:
    cluster = Cluster(small("dni"), dataset())
    cluster.coordinator.step(0)  # each has its stage, and the assignments are on their way
    cluster.workers[0].step()  # greets the second, which does not know its stage yet
    for number in range(100):
        name = f"upstream-mine-{number}"
        greeting = Message(Kind.HELLO, run="mine", body={"link": 1, "more": "x" * 9}, tensors=(np.zeros(9),))
        stranger(cluster, "memory://1", name).send("victim", greeting)
        stranger(cluster, "memory://1", f"stranger-{number}").send("victim", replace(greeting, run="x" * 100))
    cluster.run()

    assert not cluster.coordinator.metrics.incidents


CHUNK: dict[str, Any] = {"name": "a", "shape": [2], "begins": True, "left": 0, "bytes": 1000, "about": {}}


@pytest.mark.parametrize(
    ("changes", "tensors"),
    [
        ({"name": 1}, (np.zeros(2),)),
        ({"shape": ["2"]}, (np.zeros(2),)),
        ({"shape": [-1, -2]}, (np.zeros(2),)),
        ({"about": []}, (np.zeros(2),)),
        ({"bytes": "many"}, (np.zeros(2),)),
        ({"bytes": 2}, (np.zeros(2),)),
        ({"bytes": -1}, (np.zeros(2),)),
        ({}, (np.zeros(3),)),
        ({}, (np.zeros(1),)),
        ({}, (np.zeros((1, 2)),)),
        ({}, ()),
    ],
)
def test_what_is_no_chunk_is_refused(changes: dict[str, Any], tensors: tuple[Any, ...]) -> None:
    Chunks().add(Message(Kind.RESULT, body=CHUNK, tensors=(np.zeros(2),)))
    with pytest.raises((TypeError, ValueError)):
        Chunks().add(Message(Kind.RESULT, body=CHUNK | changes, tensors=tensors))


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.RESULT])
def test_a_worker_that_sends_more_than_a_stage_can_have_is_dismissed(kind: Kind) -> None:
    cluster = Cluster(small("dni"), dataset())
    cluster.assemble()
    (worker, *_), attempt = cluster.coordinator.group.members.taken, cluster.coordinator.group.attempt
    body = CHUNK | {"bytes": 1 << 40, "left": 10**6}

    sent = Message(kind, run=attempt.attempt_id, stage=0, body=body, tensors=(np.zeros(1),))
    cluster.coordinator._receive(worker.peer, sent, "")

    (incident,) = cluster.coordinator.metrics.incidents
    assert "1,099,511,627,776 bytes" in incident.detail


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pid": "x", "address": "ipc://a", "version": "1", "host": "h"},
        {"pid": 1, "address": "file:a", "version": "1", "host": "h"},
    ],
)
def test_a_stranger_that_does_not_say_who_it_is_gets_no_stage(body: dict[str, object]) -> None:
    cluster = Cluster(small("dni"), dataset())
    asking = stranger(cluster, "memory://coordinator")
    asking.send("victim", Message(Kind.JOIN, body=body))
    cluster.coordinator.step(0)

    assert [arrival.message.kind for arrival in asking.poll(0) if isinstance(arrival, Received)] == [Kind.REFUSE]
    cluster.run()
