"""The rendezvous: stages in order of arrival, and who is refused."""

from decoupled.runtime.rendezvous import Rendezvous, Seat


def seat(name: str) -> Seat:
    return Seat(name, f"ipc:///{name}", "here", 1)


def test_workers_become_stages_in_the_order_they_come() -> None:
    rendezvous = Rendezvous(2, "1")

    assert rendezvous.join(seat("b"), "1") is None
    assert not rendezvous.is_complete
    assert rendezvous.join(seat("a"), "1") is None
    assert rendezvous.is_complete
    assert [rendezvous.stage_of(name) for name in ("b", "a", "c")] == [0, 1, None]


def test_a_worker_that_says_hello_twice_has_one_seat() -> None:
    rendezvous = Rendezvous(2, "1")
    rendezvous.join(seat("a"), "1")
    rendezvous.join(seat("a"), "1")

    assert len(rendezvous.seats) == 1


def test_one_worker_too_many_and_another_version_are_refused_with_a_reason() -> None:
    rendezvous = Rendezvous(1, "1")

    assert "version 2" in str(rendezvous.join(seat("a"), "2"))
    rendezvous.join(seat("a"), "1")
    assert "all 1 stages" in str(rendezvous.join(seat("b"), "1"))


def test_a_seat_that_is_left_before_the_start_is_given_to_the_next() -> None:
    rendezvous = Rendezvous(2, "1")
    rendezvous.join(seat("a"), "1")
    rendezvous.leave("a")
    rendezvous.join(seat("b"), "1")
    rendezvous.join(seat("c"), "1")

    assert [s.peer for s in rendezvous.seats] == ["b", "c"]
