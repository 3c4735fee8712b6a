"""Conditions: what the options mean, what they change in a run, and for whom."""

from typing import Any

import pytest

from decoupled.bench.conditions import AS_IS, PATIENCE_S, Condition, parse
from decoupled.config import Run
from decoupled.errors import UsageError

RUN = Run(hidden=(32, 16, 8))  # four layers


def changes(run: Run, other: Run) -> dict[str, Any]:
    """What differs in the other run, by the names of the settings."""
    mine, its = flat(run.model_dump()), flat(other.model_dump())
    return {name: value for name, value in its.items() if value != mine[name]}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_without_an_option_the_run_is_measured_as_it_is() -> None:
    assert parse(None, None, None, None) == [AS_IS]


def test_values_are_measured_once_each_and_in_order() -> None:
    assert parse("5,0,1,5", None, None, None) == [Condition("latency", 0), Condition("latency", 1), Condition("latency", 5)]


def test_a_straggler_is_a_stage_with_its_factors() -> None:
    assert parse(None, "3:5,1", None, None) == [Condition("straggler", 1, 3), Condition("straggler", 5, 3)]


def test_a_straggler_may_come_and_go() -> None:
    (found,) = parse(None, "1:5", None, None, straggler_for="2.5/30")

    assert found == Condition("straggler", 5, 1, (2.5, 30))
    assert found.words == "stage 1 x5 for 2.5 of 30 s"
    assert changes(RUN, found.applied(RUN)) == {
        "emulation.straggler": 1,
        "emulation.straggler_factor": 5,
        "emulation.straggler_for_s": 2.5,
        "emulation.straggler_every_s": 30,
    }


def test_a_slow_link_is_the_one_after_its_stage() -> None:
    run = Run(hidden=(32, 16, 8), emulation={"latency_ms": 2.0})
    (found,) = parse(None, None, None, None, slow_link="1:20")

    assert found.words == "link 1 to 2 x20"
    assert changes(run, found.applied(run)) == {"emulation.link_factors": (1, 20)}


def test_kills_are_measured_beside_none_and_with_workers_that_are_replaced_at_once() -> None:
    none, kills = parse(None, None, None, None, kills="30")

    assert (none.words, kills.words) == ("no worker killed", "a worker killed every 30 s")
    assert (none.is_undisturbed, kills.is_undisturbed) == (True, False)
    restarting = {"supervision.restarts_max": 1_000_000, "supervision.backoff_s": 0}
    assert changes(RUN, none.applied(RUN)) == restarting
    assert changes(RUN, kills.applied(RUN)) == restarting | {"emulation.kill_every_s": 30}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"straggler_for": "1/2"}, "--straggler-for says when"),
        ({"straggler": "1:5", "straggler_for": "30/10"}, "--straggler-for takes SECONDS/EVERY"),
        ({"straggler": "1:5", "straggler_for": "10"}, "--straggler-for takes SECONDS/EVERY"),
        ({"slow_link": "5"}, "--slow-link takes STAGE:FACTOR"),
        ({"slow_link": "1:0.5"}, "--slow-link takes numbers from 1"),
        ({"kills": "often"}, "--kill-every-s takes numbers"),
    ],
)
def test_what_a_disturbance_does_not_take_is_refused_in_a_sentence(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(**{"latencies": None, "straggler": None, "drops": None, "workers": None} | options)

    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(".")


def test_every_option_has_its_own_axis() -> None:
    assert parse("0.5", "0:2", "0.1", "4", "100") == [
        Condition("latency", 0.5),
        Condition("bandwidth", 100),
        Condition("straggler", 2, 0),
        Condition("drop", 0.1),
        Condition("workers", 4),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("fast", None, None, None), "--link-latency-ms takes numbers such as 1,2,5, not 'fast'"),
        (("", None, None, None), "--link-latency-ms takes numbers"),
        (("-1", None, None, None), "--link-latency-ms takes numbers from 0 to 60000, not '-1'"),
        (("nan", None, None, None), "--link-latency-ms takes numbers from 0"),
        ((None, None, None, None, "0"), "--link-bandwidth-mbit takes numbers from 0.1"),
        ((None, "5", None, None), "--straggler takes STAGE:FACTOR"),
        ((None, "last:5", None, None), "--straggler takes STAGE:FACTOR"),
        ((None, "-1:5", None, None), "--straggler takes STAGE:FACTOR"),
        ((None, "1:", None, None), "--straggler takes numbers"),
        ((None, "1:0.5", None, None), "--straggler takes numbers from 1 to 1000"),
        ((None, None, "1", None), "--drop takes numbers from 0 to 0.99"),
        ((None, None, "0.1;0.2", None), "--drop takes numbers such as"),
        ((None, None, None, "0"), "--workers takes numbers from 1 to 64"),
        ((None, None, None, "65"), "--workers takes numbers from 1 to 64"),
        ((None, None, None, "2,2.4"), "--workers takes whole numbers such as 2,4,8, not '2,2.4'"),
    ],
)
def test_what_an_option_does_not_take_is_refused_in_a_sentence(options: tuple[str | None, ...], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(*options)

    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("condition", "name"),
    [(AS_IS, "as-is"), (Condition("latency", 0.5), "latency-0.5"), (Condition("workers", 8.0), "workers-8")],
)
def test_a_name_can_stand_in_a_files(condition: Condition, name: str) -> None:
    assert condition.name == name


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (AS_IS, ""),
        (Condition("latency", 0.5), "0.5 ms"),
        (Condition("straggler", 5, stage=3), "stage 3 x5"),
        (Condition("drop", 0.3), "30% lost"),
        (Condition("workers", 8.0), "8 workers"),
    ],
)
def test_its_words_have_a_unit(condition: Condition, words: str) -> None:
    assert condition.words == words


@pytest.mark.parametrize(
    ("condition", "changed"),
    [
        (AS_IS, {}),
        (Condition("latency", 5), {"emulation.latency_ms": 5}),
        (Condition("straggler", 5, stage=3), {"emulation.straggler": 3, "emulation.straggler_factor": 5}),
        (Condition("drop", 0.3), {"emulation.drop": 0.3, "dni.patience_s": PATIENCE_S}),
        (Condition("drop", 0), {"dni.patience_s": PATIENCE_S}),
        (Condition("workers", 2), {"workers": 2}),
    ],
)
def test_a_condition_changes_its_own_settings_and_no_other(condition: Condition, changed: dict[str, Any]) -> None:
    assert changes(RUN, condition.applied(RUN)) == changed


def test_a_condition_is_added_to_what_the_run_emulates_already() -> None:
    run = Run(emulation={"device_ms": 20.0, "latency_ms": 3.0})

    applied = Condition("straggler", 2, stage=1).applied(run)

    assert (applied.emulation.device_ms, applied.emulation.latency_ms, applied.emulation.straggler) == (20.0, 3.0, 1)


@pytest.mark.parametrize(("condition", "said"), [(Condition("straggler", 2, stage=4), "stage 4"), (Condition("workers", 5), "5")])
def test_a_condition_that_does_not_fit_the_run_is_refused(condition: Condition, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        condition.applied(RUN)


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("schedule", ["dni", "lockstep", "single"])
def test_on_emulated_devices_the_layers_follow_the_workers(workers: int, schedule: str) -> None:
    """One layer a device; single has as many layers to itself."""
    run = Run(hidden=(32, 16, 8), schedule=schedule, emulation={"device_ms": 20.0})

    applied = Condition("workers", workers).applied(run)

    assert applied.hidden == (32,) * (workers - 1)
    assert applied.workers == (None if schedule == "single" else workers)


def test_on_emulated_devices_a_network_without_hidden_layers_grows_too() -> None:
    run = Run(hidden=(), emulation={"device_ms": 20.0})

    assert len(Condition("workers", 4).applied(run).hidden) == 3


EVERYONE = {"single", "lockstep", "gpipe", "1f1b", "dni"}
WITH_LINKS = EVERYONE - {"single"}


@pytest.mark.parametrize(
    ("condition", "admitted"),
    [
        (AS_IS, EVERYONE),
        (Condition("latency", 0), WITH_LINKS),
        (Condition("latency", 5), WITH_LINKS),
        (Condition("straggler", 1, stage=3), WITH_LINKS),
        (Condition("straggler", 5, stage=3), WITH_LINKS),
        (Condition("slow-link", 5, stage=1), WITH_LINKS),
        (Condition("kill", 30), WITH_LINKS),
        (Condition("drop", 0), {"dni"}),
        (Condition("drop", 0.1), {"dni"}),
        (Condition("workers", 1), WITH_LINKS),
        (Condition("workers", 4), WITH_LINKS),
    ],
)
def test_a_condition_admits_the_schedules_that_it_means_something_to(condition: Condition, admitted: set[str]) -> None:
    assert {name for name in EVERYONE if condition.admits(name, RUN)} == admitted


@pytest.mark.parametrize("workers", [1, 4])
def test_on_emulated_devices_single_takes_part_with_every_number_of_workers(workers: int) -> None:
    run = Run(schedule="single", emulation={"device_ms": 20.0})

    assert {name for name in EVERYONE if Condition("workers", workers).admits(name, run)} == EVERYONE


@pytest.mark.parametrize("device_ms", [None, 20.0])
@pytest.mark.parametrize("schedule", sorted(EVERYONE))
def test_a_condition_can_be_applied_to_every_schedule_that_it_admits(schedule: str, device_ms: float | None) -> None:
    run = Run(hidden=(32, 16, 8), schedule=schedule, emulation={"device_ms": device_ms})
    conditions = [
        AS_IS,
        Condition("latency", 0),
        Condition("latency", 5),
        Condition("straggler", 1, stage=3),
        Condition("drop", 0),
        Condition("drop", 0.1),
        Condition("workers", 1),
        Condition("workers", 4),
    ]

    applied = [condition.applied(run) for condition in conditions if condition.admits(schedule, run)]

    assert applied
    assert {one.schedule for one in applied} == {schedule}
