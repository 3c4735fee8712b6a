"""What a run says about faults, checkpoints and lost workers: as values, in words, and what is refused."""

import tomllib
from typing import Any

import pytest

from decoupled.config import Fault, Run, fault, to_toml
from decoupled.errors import UsageError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("kill:stage=2,microbatch=400", {"kind": "kill", "stage": 2, "microbatch": 400}),
        ("kill:stage=2", {"kind": "kill", "stage": 2}),
        ("stop:stage=0,seconds=2.5", {"kind": "stop", "stage": 0, "seconds": 2.5}),
        ("drop:stage=1,share=0.25", {"kind": "drop", "stage": 1, "share": 0.25}),
        ("partition: stage = 1 , seconds = 5", {"kind": "partition", "stage": 1, "seconds": 5}),
        ("kill", {"kind": "kill"}),
        ("kill:stage=two", {"kind": "kill", "stage": "two"}),
    ],
)
def test_a_fault_in_words_is_its_values(text: str, values: dict[str, Any]) -> None:
    assert fault(text) == values


@pytest.mark.parametrize("text", ["kill:", "kill:2", "kill:stage=2,", "kill:=2", "kill:stage=1,,microbatch=2"])
def test_what_is_no_fault_in_words_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        fault(text)

    assert str(refused.value) == f"--fault takes something like kill:stage=2,microbatch=400, not {text!r}."


FAULTS = (
    {"kind": "kill", "stage": 2, "microbatch": 400},
    {"kind": "stop", "stage": 1, "seconds": 0.5},
    {"kind": "drop", "stage": 0, "share": 0.5, "seconds": 3},
    {"kind": "delay", "stage": 3, "ms": 20},
    {"kind": "partition", "stage": 2, "seconds": 5},
)


@pytest.mark.parametrize(
    "values",
    [
        {"faults": FAULTS},
        {"schedule": "lockstep", "faults": [FAULTS[0], FAULTS[3]]},
        {"checkpoint": {"every": 100, "keep": 1}},
        {"checkpoint": {"every_s": 0}},
        {"supervision": {"on_failure": "rollback", "restarts_max": 0, "backoff_s": 0, "stall_timeout_s": 0.5}},
    ],
    ids=str,
)
def test_they_come_back_from_toml_as_they_were(values: dict[str, Any]) -> None:
    run = Run(**values)

    assert Run(**tomllib.loads(to_toml(run))) == run
    assert all(isinstance(one, Fault) for one in run.faults)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"faults": [{"kind": "burn", "stage": 1}]},
            "faults.0.kind: Input should be 'kill', 'stop', 'drop', 'delay' or 'partition'",
        ),
        ({"faults": [{"kind": "kill"}]}, "faults.0.stage is missing."),
        ({"faults": [FAULTS[0], {"kind": "kill", "stage": -1}]}, "faults.1.stage: "),
        ({"faults": [{"kind": "kill", "stage": 1, "microbatch": -1}]}, "faults.0.microbatch: "),
        ({"faults": [{"kind": "kill", "stage": 1, "when": 3}]}, "There is no setting faults.0.when."),
        ({"faults": [{"kind": "drop", "stage": 1}]}, "Drop needs share, as in drop:stage=1,share="),
        ({"faults": [{"kind": "delay", "stage": 1}]}, "Delay needs ms, as in delay:stage=1,ms="),
        ({"faults": [{"kind": "partition", "stage": 1}]}, "Partition needs seconds, as in partition:stage=1,seconds="),
        ({"faults": [{"kind": "drop", "stage": 1, "share": 1.0}]}, "faults.0.share: "),
        ({"faults": [{"kind": "drop", "stage": 1, "share": 0}]}, "faults.0.share: "),
        ({"faults": [{"kind": "delay", "stage": 1, "ms": 0}]}, "faults.0.ms: "),
        ({"faults": [{"kind": "stop", "stage": 1, "seconds": 0}]}, "faults.0.seconds: "),
        ({"faults": [{"kind": "kill", "stage": 1, "seconds": 1}]}, "Kill has no seconds"),
        ({"faults": [{"kind": "stop", "stage": 1, "share": 0.5}]}, "Stop has no share"),
        ({"faults": [{"kind": "drop", "stage": 1, "share": 0.5, "ms": 3}]}, "Drop has no ms"),
        ({"faults": [{"kind": "kill", "stage": 4}]}, "There is no stage 4 for the fault kill; the last that can have it is 3."),
        (
            {"faults": [{"kind": "kill", "stage": 2}], "workers": 2},
            "There is no stage 2 for the fault kill; the last that can have it is 1.",
        ),
        ({"faults": [{"kind": "partition", "stage": 3, "seconds": 1}]}, "There is no stage 3 for the fault partition"),
        ({"faults": [FAULTS[2]], "schedule": "lockstep"}, "Lockstep would wait for ever for a lost gradient"),
        ({"faults": [FAULTS[2]], "schedule": "1f1b"}, "1f1b would wait for ever for a lost gradient"),
        ({"faults": [{"kind": "kill", "stage": 0}], "schedule": "single"}, "Single has no workers and links"),
        ({"supervision": {"on_failure": "continue"}, "schedule": "lockstep"}, "Lockstep cannot go on without one of its stages"),
        ({"supervision": {"on_failure": "continue"}, "schedule": "gpipe"}, "Gpipe cannot go on without one of its stages"),
        ({"supervision": {"on_failure": "despair"}}, "supervision.on_failure: "),
        ({"supervision": {"restarts_max": -1}}, "supervision.restarts_max: "),
        ({"supervision": {"backoff_s": -0.1}}, "supervision.backoff_s: "),
        ({"supervision": {"stall_timeout_s": 0}}, "supervision.stall_timeout_s: "),
        ({"supervision": {"stall_timeout_s": float("inf")}}, "supervision.stall_timeout_s: "),
        ({"checkpoint": {"every": 0}}, "checkpoint.every: "),
        ({"checkpoint": {"every_s": -1}}, "checkpoint.every_s: "),
        ({"checkpoint": {"keep": 0}}, "checkpoint.keep: "),
        ({"checkpoint": {"folder": "x"}}, "There is no setting checkpoint.folder."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_a_bad_one_is_refused_with_a_sentence_that_names_it(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        Run(**values)

    sentence = str(refused.value)
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_the_last_stage_can_be_killed_and_the_last_link_be_cut() -> None:
    run = Run(faults=[{"kind": "kill", "stage": 3}, {"kind": "partition", "stage": 2, "seconds": 1}])

    assert [one.stage for one in run.faults] == [3, 2]


@pytest.mark.parametrize(
    ("values", "rolls_back"),
    [
        ({}, False),
        ({"supervision": {"on_failure": "continue"}}, False),
        ({"supervision": {"on_failure": "rollback"}}, True),
        ({"schedule": "lockstep"}, True),
        ({"schedule": "gpipe", "supervision": {"on_failure": "rollback"}}, True),
        ({"schedule": "1f1b"}, True),
    ],
    ids=str,
)
def test_only_dni_goes_on_without_a_stage_unless_it_is_told_to_roll_back(values: dict[str, Any], rolls_back: bool) -> None:
    assert Run(**values).rolls_back is rolls_back
