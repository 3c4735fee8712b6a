"""The race to a target: times over the seeds, and who wins under which condition."""

import pytest

from decoupled.bench import race
from decoupled.bench.benchmark import Benchmark, Case
from decoupled.bench.conditions import AS_IS, Condition
from decoupled.bench.race import Times, errors, losses, winners
from decoupled.plots import Point
from tests.bench.cases import benchmark, case, outcome

FAST, SLOW = Condition("latency", 0), Condition("latency", 5)


def to(*seconds: float | None, side: str = "dni", condition: Condition = AS_IS) -> Case:
    """A side that takes so long with each seed."""
    return case(side, *(outcome(100, one) for one in seconds), condition=condition)


def raced(*cases: Case, conditions: tuple[Condition, ...] = (AS_IS,)) -> Benchmark:
    return benchmark(*cases, target=0.975, conditions=conditions)


@pytest.mark.parametrize(
    ("seconds", "mean", "spread"),
    [
        ((3.0, 1.0, 2.0), 2.0, "1 to 3"),
        ((2.5,), 2.5, "2.5 to 2.5"),
        ((3.0, None, 1.0), None, "1 to never"),
        ((None, None), None, "never"),
    ],
)
def test_there_is_a_mean_only_where_every_seed_gets_there(
    seconds: tuple[float | None, ...], mean: float | None, spread: str
) -> None:
    times = Times(seconds)

    assert (times.mean, times.spread) == (mean, spread)
    assert times.to_json() == {"mean": mean, "seeds": list(seconds)}


def test_the_table_has_each_sides_rate_and_how_many_seeds_get_there() -> None:
    assert race.rows(raced(to(3.0, 1.0), to(2.0, None, side="lockstep"))) == [
        ("dni", "0.003", "2", "1 to 3", "2 of 2", "-", "0"),
        ("lockstep", "0.003", "never", "2 to never", "1 of 2", "-", "0"),
    ]


def test_beside_kills_is_how_much_longer_they_make_it_and_who_cannot_go_on() -> None:
    none, kills = Condition("kill", 0), Condition("kill", 30)
    lost = [{"what": "lost", "seconds": seconds} for seconds in (1.0, 2.0, 4.0)]
    killed = case("dni", outcome(100, 3.0, incidents=lost), outcome(100, 5.0, incidents=lost[2:]), condition=kills)
    made = raced(to(1.0, 2.0, side="torch"), to(2.0, 2.0, condition=none), killed, conditions=(none, kills))

    assert race.rows(made) == [
        ("torch", "0.003", "1.5", "1 to 2", "2 of 2", "-", "0"),
        ("dni, no worker killed", "0.003", "2", "2 to 2", "2 of 2", "-", "0"),
        ("dni, a worker killed every 30 s", "0.003", "4", "3 to 5", "2 of 2", "2.00", "3"),
        ("torch, a worker killed every 30 s", "-", "would begin anew", "-", "-", "-", "-"),
    ]


def test_without_a_target_there_is_no_race() -> None:
    made = benchmark(to(1.0))

    assert (race.rows(made), winners(made)) == ([], [])


def test_the_winner_has_the_lowest_mean_and_a_lead_over_the_second() -> None:
    made = raced(to(3.0, 5.0), to(2.0, 3.0, side="single"), to(1.0, None, side="lockstep"))

    assert winners(made) == ["single is first to 97.5 %, after 2.5 s, 1.60 times as fast as dni."]


def test_each_condition_has_its_own_winner_or_none() -> None:
    made = raced(
        to(2.0, condition=FAST),
        to(1.0, side="lockstep", condition=FAST),
        to(None, condition=SLOW),
        conditions=(FAST, SLOW),
    )

    assert winners(made) == [
        "0 ms: lockstep is first to 97.5 %, after 1 s, 2.00 times as fast as dni.",
        "5 ms: no side gets to 97.5 % with every seed.",
    ]


def test_a_side_that_a_condition_does_not_concern_is_compared_only_with_the_undisturbed() -> None:
    made = raced(to(0.5, side="single"), to(1.0, condition=FAST), to(2.0, condition=SLOW), conditions=(FAST, SLOW))

    assert winners(made) == [
        "0 ms: single is first to 97.5 %, after 0.5 s, 2.00 times as fast as dni.",
        "5 ms: dni is first to 97.5 %, after 2 s, the only side that gets there; faster without it: single (0.5 s).",
    ]


def test_curves_have_the_median_seed_between_the_lowest_and_the_highest() -> None:
    seeds = ((1.0, 0.5, 0.75), (2.0, 0.1, 1.0), (3.0, 0.2, 0.5))
    evaluated = [[{"training_s": seconds, "loss": loss, "accuracy": right}] for seconds, loss, right in seeds]
    one = case("dni", *(outcome(100, evaluations=evaluations) for evaluations in evaluated))

    assert losses(one) == [Point(2.0, 0.2, 0.1, 0.5)]
    assert errors(one) == [Point(2.0, 25, 0, 50)]
