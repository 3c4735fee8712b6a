"""The rendezvous: stages in order of arrival, who is refused, and who takes the place of whom."""

from decoupled.runtime.rendezvous import Rendezvous, WorkerInfo


def worker(name: str, pid: int = 1) -> WorkerInfo:
    return WorkerInfo(name, f"ipc:///{name}", "here", pid)


def names(rendezvous: Rendezvous) -> list[str | None]:
    return [taken.peer if taken is not None else None for taken in rendezvous.workers]


def test_workers_become_stages_in_the_order_they_come() -> None:
    rendezvous = Rendezvous(2, "1")

    assert rendezvous.join(worker("b"), "1") == 0
    assert (len(rendezvous.taken), rendezvous.is_complete) == (1, False)
    assert rendezvous.join(worker("a"), "1") == 1
    assert (len(rendezvous.taken), rendezvous.is_complete) == (2, True)
    assert [rendezvous.stage_of(name) for name in ("b", "a", "c")] == [0, 1, None]


def test_one_worker_too_many_and_another_version_are_refused_with_a_reason() -> None:
    rendezvous = Rendezvous(1, "1")

    assert "version 2" in str(rendezvous.join(worker("a"), "2"))
    rendezvous.join(worker("a"), "1")
    assert "all 1 stages" in str(rendezvous.join(worker("b"), "1"))


def test_a_seat_that_is_left_is_given_to_the_next_worker() -> None:
    rendezvous = Rendezvous(3, "1")
    for name in "abc":
        rendezvous.join(worker(name), "1")
    rendezvous.leave(1)
    assert (names(rendezvous), rendezvous.is_complete, rendezvous.stage_of("b")) == (["a", None, "c"], False, None)

    assert rendezvous.join(worker("d"), "1") == 1
    assert names(rendezvous) == ["a", "d", "c"]


def test_a_worker_takes_the_seat_where_one_is_expected_before_any_other() -> None:
    rendezvous = Rendezvous(3, "1")

    assert [rendezvous.join(worker(name), "1", expected=[2, 1]) for name in "abc"] == [2, 1, 0]


def test_a_stage_is_found_by_its_process_and_its_address() -> None:
    rendezvous = Rendezvous(2, "1")
    rendezvous.join(worker("a", pid=7), "1")

    assert rendezvous.stage_of_process("here", 7) == 0
    assert rendezvous.stage_of_process("there", 7) is None
    assert [rendezvous.address(stage) for stage in range(3)] == ["ipc:///a", "", None]
