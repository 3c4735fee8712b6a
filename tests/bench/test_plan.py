"""The plan: what the options ask for, and what they cannot."""

from typing import Any

import pytest

from decoupled.bench import peers
from decoupled.bench.conditions import AS_IS
from decoupled.bench.plan import Plan, plan
from decoupled.config import Run
from decoupled.errors import UsageError


def planned(schedules: str = "lockstep,dni", run: Run | None = None, **options: Any) -> Plan:
    usual: dict[str, Any] = {
        "microbatches": None,
        "peer": None,
        "conditions": [AS_IS],
        "repeat": 3,
        "warm_up": 20,
        "target": None,
        "device_ms": None,
    }
    return plan(run or Run(), schedules, **usual | options)


def test_schedules_keep_the_order_in_which_they_are_named() -> None:
    assert planned("dni, single,1f1b").schedules == ("dni", "single", "1f1b")


def test_a_schedule_that_is_named_twice_is_measured_once() -> None:
    assert planned("dni,single, dni").schedules == ("dni", "single")


@pytest.mark.parametrize("schedules", ["magic", "lockstep,magic", "magic,unknown"])
def test_an_unknown_schedule_is_refused_with_those_there_are(schedules: str) -> None:
    with pytest.raises(UsageError) as refused:
        planned(schedules)

    assert all(word in str(refused.value) for word in ("'magic'", "single", "lockstep", "gpipe", "1f1b", "dni"))


@pytest.mark.parametrize("schedules", ["", "dni,"])
def test_an_empty_name_is_refused(schedules: str) -> None:
    with pytest.raises(UsageError, match="There is no schedule ''"):
        planned(schedules)


def test_an_option_that_no_schedule_takes_is_refused() -> None:
    run = Run(args={"schedule": {"extra": 8}})

    assert planned("async1f1b,dni", run=run).run == run
    with pytest.raises(UsageError, match="None of the schedules to compare takes the option extra"):
        planned("lockstep,dni", run=run)


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(UsageError, match="There is no peer 'jax'"):
        planned(peer="jax")


def test_a_missing_torch_is_refused_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: False)

    with pytest.raises(UsageError, match=r"pip install 'decoupled-trainer\[torch\]'"):
        planned(peer="torch")


def test_torch_brings_one_process_and_two_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: True)

    made = planned(peer="torch")

    assert (made.peers, made.notes) == (("torch", "torch gpipe", "torch 1f1b"), ())


def test_torchs_pipelines_take_no_part_with_a_target_and_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: True)

    made = planned(peer="torch", target=0.9)

    assert made.peers == ("torch",)
    assert len(made.notes) == 1
    assert "pipelines take no part" in made.notes[0]


def test_torch_is_not_asked_for_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: False)

    assert (planned().peers, planned().notes) == ((), ())


def test_torch_takes_no_part_on_emulated_devices_and_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: True)

    made = planned(peer="torch", device_ms=20.0)

    assert made.peers == ()
    assert any("PyTorch takes no part" in note for note in made.notes)


def test_emulated_devices_are_in_the_run_and_in_a_note() -> None:
    made = planned(device_ms=20.0)

    assert made.run.emulation.device_ms == 20.0
    assert len(made.notes) == 1
    assert "emulated" in made.notes[0]
    assert "20 ms for a layer's three products" in made.notes[0]
    assert "Nothing is learnt." in made.notes[0]


def test_devices_that_the_run_itself_emulates_are_in_a_note_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_there", lambda: True)
    run = Run(emulation={"device_ms": 20.0})

    made = plan(run, "dni", None, "torch", [AS_IS], repeat=1, warm_up=20, target=None, device_ms=None)

    assert made.peers == ()
    assert any("PyTorch takes no part" in note for note in made.notes)
    assert any("20 ms for a layer's three products" in note for note in made.notes)


def test_a_device_time_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="device_ms"):
        planned(device_ms=0.0)


def test_a_target_is_looked_for_after_every_epoch() -> None:
    assert planned(target=0.9).run.runtime.evaluate_every == 1
    assert planned().run.runtime.evaluate_every == 0


def test_with_a_target_rates_around_the_runs_own_are_tried() -> None:
    assert planned(target=0.9).rates == (0.0015, 0.003, 0.006)
    assert planned().rates == ()
    assert planned(target=0.9, rates="0.1,0.01").rates == (0.01, 0.1)


def test_one_rate_is_the_runs_and_is_not_tried() -> None:
    made = planned(target=0.9, rates="0.1")

    assert (made.run.lr, made.rates) == (0.1, ())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rates": "0.1"}, "Give --target-accuracy"),
        ({"rates": "fast", "target": 0.9}, "--rates takes numbers"),
        ({"rates": "0", "target": 0.9}, "--rates takes numbers from"),
        ({"target": 0.9, "device_ms": 20.0}, "nothing is learnt"),
    ],
)
def test_rates_and_targets_that_mean_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planned(**options)
