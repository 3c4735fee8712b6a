"""Status clients: what a coordinator tells a client that asks and has no stage, how often, and what it never tells."""

from typing import Any

import pytest

from decoupled.runtime.status import ANSWERS_MAX, Answer
from decoupled.runtime.versions import as_told, versions
from decoupled.transport.interface import Received
from decoupled.transport.simulated import SimulatedTransport
from decoupled.wire.messages import MALFORMED, Kind, Message
from tests.cluster import Cluster
from tests.fuzz.originals import dataset, small
from tests.runtime.strangers import stranger, training


def asked(cluster: Cluster, client: SimulatedTransport, times: int = 1) -> list[Message]:
    """What the client is told when it asks so many times."""
    for _ in range(times):
        client.send("victim", Message(Kind.ASK))
    cluster.coordinator.step(0)
    return [arrival.message for arrival in client.poll(0) if isinstance(arrival, Received)]


def test_a_client_is_told_how_things_stand_before_and_after_the_workers_have_come() -> None:
    cluster = Cluster(small("dni"), dataset())
    (first,) = asked(cluster, stranger(cluster, "memory://coordinator", "early"))
    cluster.assemble()
    (second,) = asked(cluster, stranger(cluster, "memory://coordinator", "late"))
    before, after = Answer.from_message(first), Answer.from_message(second)

    assert (before.stages, before.is_training, after.is_training) == (3, False, True)
    assert after.joined == 3
    assert [(worker.stage, worker.address) for worker in after.workers] == [(n, f"memory://{n}") for n in range(3)]
    assert after.versions == after.workers[2].versions == versions()
    assert after.at_ns == round(cluster.network.now * 1e9)


def test_an_answer_names_nothing_by_which_a_client_could_take_part() -> None:
    cluster = training()
    (answer,) = asked(cluster, stranger(cluster, "memory://coordinator"))
    text = str(answer)

    assert answer.run == ""
    assert cluster.coordinator.group.attempt.attempt_id not in text
    assert not [worker for worker in cluster.coordinator.group.members.taken if worker.peer in text]


def test_a_client_that_asks_on_is_told_no_more_until_it_comes_anew() -> None:
    cluster = training()
    client = stranger(cluster, "memory://coordinator")

    assert len(asked(cluster, client, 1000)) == ANSWERS_MAX
    assert asked(cluster, client, 1000) == []
    cluster.network.crash("memory://stranger")
    cluster.coordinator.step(0)
    assert len(asked(cluster, stranger(cluster, "memory://coordinator", "another"))) == 1
    cluster.run()
    assert not cluster.coordinator.metrics.incidents


def test_clients_change_nothing_about_a_run() -> None:
    alone, among = training(), training()
    for number in range(5):
        asked(among, stranger(among, "memory://coordinator", f"client-{number}"), 3)
        alone.coordinator.step(0)
        among.network.crash(f"memory://client-{number}")
    alone.run()
    among.run()
    expected, found = alone.coordinator.report().network.arrays, among.coordinator.report().network.arrays

    assert not among.coordinator.metrics.incidents
    assert all((found[name] == weights).all() for name, weights in expected.items())


def test_what_a_worker_says_of_itself_is_kept_short() -> None:
    cluster = Cluster(small("dni"), dataset())
    boaster = stranger(cluster, "memory://coordinator", "boaster")
    about = {"address": "memory://boaster", "version": versions()["decoupled"], "host": "h" * 500_000, "pid": 1}
    boaster.send("victim", Message(Kind.JOIN, body=about | {"versions": {"v" * 99_999: "x" * 99_999}}))
    (answer,) = asked(cluster, stranger(cluster, "memory://coordinator"))

    assert len(str(answer.body)) < 3000
    assert max(map(len, cluster.coordinator.metrics.hosts)) < 200


@pytest.mark.parametrize("said", [None, 3, "text", ["a"], {1: "a"}, {"a": 1}, {"a": {"b": "c"}}])
def test_versions_that_are_none_are_left_out(said: object) -> None:
    assert as_told(said) == {}


def test_of_versions_a_few_short_ones_are_kept() -> None:
    told = as_told({f"{n}{'x' * 1000}": "y" * 1000 for n in range(1000)})

    assert len(told) == 8
    assert {(len(name), len(text)) for name, text in told.items()} == {(40, 40)}


GOOD: dict[str, Any] = {"host": "a", "at_ns": 1, "stages": 2, "joined": 1, "is_training": True, "versions": {}, "workers": []}
WORKER: dict[str, Any] = {"stage": 0, "host": "a", "address": "tcp://127.0.0.1:1", "versions": {}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        GOOD | {"at_ns": "now"},
        GOOD | {"stages": 1.5},
        GOOD | {"workers": 3},
        GOOD | {"workers": [3]},
        GOOD | {"workers": [{}]},
        GOOD | {"workers": [WORKER | {"stage": None}]},
        {name: value for name, value in GOOD.items() if name != "versions"},
    ],
)
def test_an_answer_that_is_none_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(MALFORMED):
        Answer.from_message(Message(Kind.ANSWER, body=body))


def test_workers_whose_address_is_none_are_left_out_of_an_answer() -> None:
    addresses = [3, "", "tcp://evil.example:1", "tcp://10.0.0.1:70000", "http://a", "tcp://10.0.0.1:5"]
    body = GOOD | {"workers": [WORKER | {"address": address} for address in addresses]}

    assert [worker.address for worker in Answer.from_message(Message(Kind.ANSWER, body=body)).workers] == ["tcp://10.0.0.1:5"]
