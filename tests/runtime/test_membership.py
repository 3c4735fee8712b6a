"""Membership: stages in order of arrival, who is refused, who takes the place of whom, and who is ready."""

from decoupled.runtime.membership import Membership, WorkerInfo


def worker(name: str, pid: int = 1) -> WorkerInfo:
    return WorkerInfo(name, f"ipc:///{name}", "here", pid)


def names(members: Membership) -> list[str | None]:
    return [taken.peer if taken is not None else None for taken in members.workers]


def test_workers_become_stages_in_the_order_they_come() -> None:
    members = Membership(2, "1")

    assert members.join(worker("b"), "1") == 0
    assert (len(members.taken), members.is_complete) == (1, False)
    assert members.join(worker("a"), "1") == 1
    assert (len(members.taken), members.is_complete) == (2, True)
    assert [members.stage_of(name) for name in ("b", "a", "c")] == [0, 1, None]


def test_one_worker_too_many_and_another_version_are_refused_with_a_reason() -> None:
    members = Membership(1, "1")

    assert "version 2" in str(members.join(worker("a"), "2"))
    members.join(worker("a"), "1")
    assert "all 1 stages" in str(members.join(worker("b"), "1"))


def test_a_stage_that_is_left_is_given_to_the_next_worker() -> None:
    members = Membership(3, "1")
    for name in "abc":
        members.join(worker(name), "1")
    members.leave(1)
    assert (names(members), members.is_complete, members.stage_of("b")) == (["a", None, "c"], False, None)

    assert members.join(worker("d"), "1") == 1
    assert names(members) == ["a", "d", "c"]


def test_a_worker_takes_the_stage_where_one_is_expected_before_any_other() -> None:
    members = Membership(3, "1")

    assert [members.join(worker(name), "1", expected=[2, 1]) for name in "abc"] == [2, 1, 0]


def test_a_stage_is_found_by_its_process_and_its_address() -> None:
    members = Membership(2, "1")
    members.join(worker("a", pid=7), "1")

    assert members.stage_of_process("here", 7) == 0
    assert members.stage_of_process("there", 7) is None
    assert [members.address(stage) for stage in range(3)] == ["ipc:///a", "", None]


def complete() -> Membership:
    """One in which every stage has a worker that is linked to the next."""
    members = Membership(3, "1")
    for stage in range(3):
        members.join(worker(str(stage), pid=stage), "1")
        members.ready(stage, 0)
    return members


def test_all_are_ready_when_each_has_said_so() -> None:
    members = Membership(2, "1")
    said = [members.are_all_ready]

    for stage in (1, 0):
        members.join(worker(str(stage)), "1")
        said.append(members.are_all_ready)
    for stage in (1, 0):
        members.ready(stage, 0)
        said.append(members.are_all_ready)

    assert said == [False, False, False, False, True]


def test_a_stage_whose_link_broke_is_ready_when_it_says_so_again() -> None:
    members = complete()

    members.link_broke(1)
    broken = members.are_all_ready
    members.ready(1, 0)

    assert not broken
    assert members.are_all_ready


def test_a_stage_is_ready_only_when_it_is_linked_to_the_present_worker_of_the_next() -> None:
    """What it said of the worker before does not count, however late it is heard."""
    members = complete()
    members.leave(1)
    members.join(worker("d"), "1")
    members.renew([1])

    members.ready(1, 0)
    members.ready(0, 0)
    late = members.are_all_ready
    members.ready(0, 1)

    assert not late
    assert members.are_all_ready


def test_nobody_is_ready_in_a_new_attempt() -> None:
    members = complete()

    members.renew(range(3))

    assert members.generations == [1, 1, 1]
    assert not any(map(members.is_ready, range(3)))


def test_a_process_that_had_a_stage_is_known_to_have_left() -> None:
    members = complete()

    members.leave(1)

    assert [members.has_left("here", pid) for pid in (0, 1)] == [False, True]


def test_a_peer_is_refused_once_while_it_is_connected() -> None:
    members = complete()

    first = [members.refuse("stranger") for _ in range(3)]
    members.disconnected("stranger")

    assert first == [True, False, False]
    assert members.refuse("stranger")
