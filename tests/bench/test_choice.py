"""The choice among settings: how often each is tried, which wins, and how sure that is."""

from collections.abc import Callable

import pytest

from decoupled.bench.choice import Choice, choose
from decoupled.errors import RunFailed


def chosen(**rates: list[float | None]) -> tuple[Choice, list[str]]:
    """The choice among settings that have these rates one after the other (None: they fail), and the order of the tries."""
    order = list[str]()

    def setting(name: str) -> Callable[[], float]:
        coming = iter(rates[name])

        def rate() -> float:
            order.append(name)
            if (found := next(coming)) is None:
                raise RunFailed(f"{name} does not work.")
            return found

        return rate

    return choose("single", {name: setting(name) for name in rates}, lambda what: None), order


def test_settings_that_are_clearly_apart_are_tried_twice_in_turn() -> None:
    choice, order = chosen(one=[100, 110], two=[200, 190])

    assert order == ["one", "two", "one", "two"]
    assert (choice.best, choice.rivals) == ("two", [])


def test_one_try_in_a_busy_moment_does_not_decide() -> None:
    """The rates of a benchmark beside other load, of which the first made it choose one thread."""
    choice, order = chosen(one=[6859, 6900, 6800], two=[1269, 11355, 11300])

    assert order[:4] == ["one", "two", "one", "two"]
    assert sorted(order[4:]) == ["one", "two"]
    assert choice.best == "two"


def test_only_settings_that_may_be_the_fastest_are_tried_a_third_time() -> None:
    choice, order = chosen(two=[100, 110, 105], four=[104, 108, 106], eight=[50, 55])

    assert sorted(order[6:]) == ["four", "two"]
    assert choice.tries["eight"] == [50, 55]
    assert (choice.best, choice.rivals) == ("four", ["two"])


def test_an_unsure_choice_is_warned_of_and_a_sure_one_is_not() -> None:
    unsure, sure = Choice("gpipe", {"A": [100, 150], "B": [90, 120]}), Choice("gpipe", {"A": [100, 150], "B": [90, 95]})

    assert "B may be as fast" in unsure.note
    assert "may be" not in sure.note
    assert (unsure.to_json()["is_sure"], sure.to_json()["is_sure"]) == (False, True)


def test_every_try_is_recorded_with_their_median_and_range() -> None:
    choice = Choice("gpipe", {"A": [1000, 3000, 1500], "B": [900, 800]})

    assert "A 1,500, 1,000-3,000" in choice.note
    assert choice.to_json()["chosen"] == "A"
    assert choice.to_json()["samples_per_s"] == {
        "A": {"median": 1500, "low": 1000, "high": 3000, "tries": [1000, 3000, 1500]},
        "B": {"median": 850, "low": 800, "high": 900, "tries": [900, 800]},
    }


def test_where_more_has_a_price_the_first_that_may_be_the_fastest_is_taken() -> None:
    tries = {"0": [50.0, 55.0], "8": [100.0, 110.0], "24": [105.0, 120.0]}
    choice = Choice("async1f1b", tries, takes_first=True)

    assert (choice.best, Choice("async1f1b", tries).best) == ("8", "24")
    assert "runs with 8, the first that may be the fastest in several tries" in choice.note


def test_settings_that_fail_are_left_out() -> None:
    choice, _ = chosen(one=[100, 110], two=[200, None], three=[None])

    assert choice.tries == {"one": [100, 110]}


def test_where_all_settings_fail_the_last_one_says_why() -> None:
    with pytest.raises(RunFailed, match="two does not work"):
        chosen(one=[None], two=[None])
