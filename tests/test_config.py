"""A run: checked when it is made, the same after a journey through TOML, and refused with one sentence."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from decoupled.config import Run, assignments, from_toml, merged, to_toml
from decoupled.errors import UsageError
from decoupled.transport.interface import Limits
from decoupled.transport.zeromq import ZeroMQ


def refusal(**values: Any) -> str:
    """What is said about values that are not a run."""
    with pytest.raises(UsageError) as refused:
        Run(**values)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_sections_may_be_given_in_part() -> None:
    run = Run(network={"batch_norm": False}, dni={"stash_max": 3})

    assert (run.network.batch_norm, run.network.activation) == (False, "relu")
    assert (run.dni.stash_max, run.dni.patience_s) == (3, Run().dni.patience_s)


def test_a_run_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Run().epochs = 3  # type: ignore[misc]


RUNS = {
    "defaults": Run(),
    "no hidden layer": Run(hidden=()),
    "stages": Run(hidden=(8, 8, 8), stages=((0,), (1, 2), (3,)), workers=3),
    "a path": Run(data='C:\\data "mine"\n\u00fc.npz'),
    "small numbers": Run(lr=1e-300, heads={"lr": 5e-324, "feedback_weight": 0.0}),
    "large numbers": Run(seed=2**63 - 1, link={"message_bytes_max": 2**40}),
    "whole numbers for floats": Run(lr=1, link={"silence_s": 5}),
    "all sections": Run(
        data="mnist",
        schedule="lockstep",
        head="mlp-label",
        feedback_every=4,
        network={"activation": "tanh", "batch_norm": False, "loss": "squared", "dtype": "float64"},
        optimiser={"name": "sgd", "momentum": 0.5, "decay": "cosine"},
        dni={"feedback": "chained", "stash_max": 2, "patience_s": 0.5},
        runtime={"threads": 2, "evaluate_every": 3, "report_every_s": 1.5},
        dataset={"directory": "/data", "bits": 12},
        emulation={"latency_ms": 2.5, "straggler": 1, "straggler_factor": 4, "device_ms": 10.0},
    ),
    "a pipeline": Run(schedule="1f1b", batch=32, microbatches=8),
    "two versions": Run(schedule="2bw", batch=32, microbatches=8),
    "one that drops": Run(dni={"overflow": "latest"}, emulation={"drop": 0.25}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_comes_back_from_toml_as_it_was(name: str) -> None:
    assert Run(**tomllib.loads(to_toml(RUNS[name]))) == RUNS[name]


def test_toml_shows_every_value_that_the_run_uses() -> None:
    written = tomllib.loads(to_toml(Run()))

    assert written["epochs"] == Run().epochs
    assert written["link"]["silence_s"] == Run().link.silence_s
    assert "workers" not in written  # None: decided when the run starts


def test_arrays_are_named_in_toml_and_not_written() -> None:
    assert tomllib.loads(to_toml(Run(data={"x_train": [[1.0]]})))["data"] == "arrays"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1, not 0."),
        ({"epochs": "many"}, "epochs: "),
        ({"epochs": 2**64}, "epochs: "),
        ({"lr": 0}, "lr: "),
        ({"lr": float("inf")}, "lr: "),
        ({"seed": 2**64}, "seed: "),
        ({"data": 3}, "data"),
        ({"schedule": "gossip"}, "There is no schedule 'gossip'; choose dni, local, lockstep, "),
        ({"head": "oracle"}, "There is no head 'oracle'; choose auto, readout, "),
        ({"hidden": [256, 0]}, "Every hidden layer is 1 to 65536 wide, not (256, 0)."),
        ({"hidden": [10**9]}, "Every hidden layer is 1 to 65536 wide"),
        ({"hidden": "256"}, "hidden: "),
        ({"workers": 9}, "9 workers cannot share 4 layers."),
        ({"stages": [[0, 1], [3]]}, "Stages must hold the layers 0 to 3 in order"),
        ({"stages": [[1, 0], [2, 3]]}, "Stages must hold the layers 0 to 3 in order"),
        ({"stages": [[0, 1, 2, 3], []]}, "Stages must hold the layers 0 to 3 in order"),
        ({"stages": [[0], [1], [2, 3]], "workers": 2}, "There are 3 stages but 2 workers"),
        ({"network": 5}, "network: "),
        ({"network": {"activation": "gelu"}}, "There is no activation 'gelu'; did you mean relu? "),
        ({"network": {"batch_norm": "maybe"}}, "network.batch_norm: "),
        ({"network": {"loss": "hinge"}}, "There is no loss 'hinge'; choose softmax, "),
        ({"network": {"dtype": "float16"}}, "network.dtype: "),
        ({"optimiser": {"momentum": 1.0}}, "optimiser.momentum: "),
        ({"optimiser": {"momentum": 0.99}}, "Optimiser.momentum is for sgd and nadam; adam does not use it, so leave it out."),
        (
            {"optimiser": {"name": "nadam", "momentum": 0.99}, "args": {"optimiser": {"betas": [0.9, 0.95]}}},
            "Args.optimiser.betas takes the place of optimiser.momentum",
        ),
        ({"optimiser": {"name": "adamw", "momentum": 0.5}, "model": "gpt"}, "Optimiser.momentum is for sgd and nadam; adamw"),
        ({"heads": {"width": -1}}, "heads.width: "),
        ({"dni": {"stash_max": 0}}, "dni.stash_max: "),
        ({"link": {"window": 0}}, "link.window: "),
        ({"link": {"high_water_mark": 2**31}}, "link.high_water_mark: "),
        ({"link": {"message_bytes_max": 2**63}}, "link.message_bytes_max: "),
        ({"link": {"silence_s": 1e9}}, "link.silence_s: "),
        ({"runtime": {"threads": 0}}, "runtime.threads: "),
        ({"dataset": {"bits": 1}}, "dataset.bits: "),
        ({"microbatches": 2}, "Dni takes a batch whole; only gpipe, 1f1b and 2bw cut it into microbatches"),
        ({"schedule": "async1f1b", "microbatches": 2}, "Async1f1b takes a batch whole"),
        ({"schedule": "2bw", "dni": {"overflow": "latest"}}, "2bw needs every microbatch's gradient"),
        ({"schedule": "2bw", "emulation": {"drop": 0.1}}, "2bw would wait for ever for a lost gradient"),
        ({"schedule": "2bw", "supervision": {"on_failure": "continue"}}, "2bw cannot go on without one of its stages"),
        ({"schedule": "lockstep", "microbatches": 2}, "Lockstep takes a batch whole"),
        ({"schedule": "single", "microbatches": 2}, "Single takes a batch whole"),
        ({"schedule": "gpipe", "batch": 7, "microbatches": 4}, "Batch norm needs microbatches of at least 2; 7 samples"),
        ({"dni": {"overflow": "newest"}}, "dni.overflow: "),
        ({"schedule": "lockstep", "dni": {"overflow": "latest"}}, "Lockstep needs every microbatch's gradient"),
        ({"schedule": "1f1b", "dni": {"overflow": "latest"}}, "1f1b needs every microbatch's gradient"),
        ({"schedule": "lockstep", "emulation": {"drop": 0.1}}, "Lockstep would wait for ever for a lost gradient"),
        ({"emulation": {"drop": 1.0}}, "emulation.drop: "),
        ({"emulation": {"straggler": -1}}, "emulation.straggler: "),
        ({"emulation": {"straggler_for_s": 1.0}}, "A straggler that comes and goes needs both"),
        (
            {"emulation": {"straggler": 0, "straggler_for_s": 3.0, "straggler_every_s": 2.0}},
            "Of every 2 s a straggler cannot be slow for 3 s",
        ),
        (
            {"emulation": {"straggler_for_s": 1.0, "straggler_every_s": 2.0}},
            "Which stage is the straggler? Say emulation.straggler",
        ),
        ({"emulation": {"latency_ms": 1.0, "link_factors": (0.5,)}}, "Each of emulation.link_factors is a number from 1"),
        ({"emulation": {"link_factors": (2.0,)}}, "Links are slower by emulation.link_factors only with"),
        (
            {"hidden": (8,), "emulation": {"latency_ms": 1.0, "link_factors": (2, 2)}},
            "Between 2 stages the links are 1, and not 2",
        ),
        ({"emulation": {"kill_every_s": 5.0}}, "With a kill every 5 s a run needs checkpoints more often than that"),
        ({"schedule": "single", "emulation": {"kill_every_s": 30.0}}, "Single has no workers"),
        ({"learning_rate": 0.1}, "There is no setting learning_rate."),
        ({"link": {"hwm": 3}}, "There is no setting link.hwm."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_a_bad_value_is_refused_with_a_sentence_that_names_it(values: dict[str, Any], said: str) -> None:
    assert refusal(**values).startswith(said)


@pytest.mark.parametrize(
    "values",
    [
        {"microbatches": 1},
        {"schedule": "gpipe", "batch": 8, "microbatches": 4},
        {"schedule": "gpipe", "batch": 4, "microbatches": 4, "network": {"batch_norm": False}},
        {"schedule": "single", "emulation": {"device_ms": 3.0}},
        {"emulation": {"drop": 0.99}},
        {"optimiser": {"name": "nadam", "momentum": 0.99}},
        {"optimiser": {"name": "adam", "momentum": 0.9}},
    ],
    ids=str,
)
def test_what_comes_close_to_a_refusal_is_taken(values: dict[str, Any]) -> None:
    assert Run(**values) == Run(**tomllib.loads(to_toml(Run(**values))))


def test_the_words_false_and_no_are_not_true() -> None:
    assert not Run(network={"batch_norm": "False"}).network.batch_norm
    assert not Run(network={"batch_norm": "no"}).network.batch_norm


@pytest.mark.parametrize(
    "link",
    [
        {"high_water_mark": 1, "message_bytes_max": 1 << 10, "silence_s": 0.1},
        {"high_water_mark": 2**31 - 1, "message_bytes_max": 2**63 - 1, "silence_s": 86_400},
    ],
    ids=["least", "most"],
)
def test_sockets_take_every_limit_that_a_run_allows(link: dict[str, Any]) -> None:
    options = Run(link=link).link
    transport = ZeroMQ(Limits(options.high_water_mark, options.message_bytes_max, options.silence_s))

    where = transport.bind("tcp://127.0.0.1:*")
    transport.close()

    assert where.startswith("tcp://127.0.0.1:")


def test_a_run_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('epochs = 3\n[dni]\nstash_max = 4\n[dataset]\ndirectory = "ü"\n', encoding="utf-8")

    assert from_toml(path) == {"epochs": 3, "dni": {"stash_max": 4}, "dataset": {"directory": "ü"}}


@pytest.mark.parametrize("content", [b"epochs = ", b"epochs = 1\nepochs = 2", b"\xff\xfe", b'{"epochs": 3}'])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)

    with pytest.raises(UsageError) as refused:
        from_toml(path)

    assert str(refused.value).startswith(f"{path} cannot be read as a run: ")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.toml cannot be read as a run: .*No such file"):
        from_toml(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs=3", {"epochs": 3}),
        ("lr=1e-3", {"lr": 1e-3}),
        ("hidden=[64, 32]", {"hidden": [64, 32]}),
        ("data=mnist", {"data": "mnist"}),
        ('data="mnist"', {"data": "mnist"}),
        ("data=a=b.npz", {"data": "a=b.npz"}),
        ("data=", {"data": ""}),
        ("network.batch_norm=false", {"network": {"batch_norm": False}}),
        (" dni.stash_max = 4", {"dni": {"stash_max": 4}}),
        ("dataset.directory=/data/my files", {"dataset": {"directory": "/data/my files"}}),
        ("network={dtype = 'float64'}", {"network": {"dtype": "float64"}}),
    ],
)
def test_an_assignment_is_toml_or_bare_text(setting: str, value: dict[str, Any]) -> None:
    assert assignments([setting]) == value


def test_assignments_add_up_and_the_last_one_counts() -> None:
    settings = ["epochs=1", "dni.stash_max=2", "dni.patience_s=3", "epochs=4"]

    assert assignments(settings) == {"epochs": 4, "dni": {"stash_max": 2, "patience_s": 3}}


@pytest.mark.parametrize("setting", ["epochs", "=3", " =3", ""])
def test_what_is_no_assignment_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=r"^--set takes section\.key=value, not '.*'\.$"):
        assignments([setting])


def test_a_value_has_no_settings_below_it() -> None:
    with pytest.raises(UsageError, match=r"^--set epochs\.many=1: epochs is a value, not a section\.$"):
        assignments(["epochs=3", "epochs.many=1"])


def test_values_are_merged_section_by_section() -> None:
    base = {"epochs": 1, "lr": 0.1, "dni": {"stash_max": 2, "patience_s": 3.0}}
    over = {"epochs": 5, "dni": {"stash_max": 9}, "link": {"window": 4}}

    result = merged(base, over)

    assert result == {"epochs": 5, "lr": 0.1, "dni": {"stash_max": 9, "patience_s": 3.0}, "link": {"window": 4}}
    assert base["dni"] == {"stash_max": 2, "patience_s": 3.0}


def test_a_section_replaces_a_value_and_a_value_a_section() -> None:
    assert merged({"data": "digits", "dni": {"stash_max": 2}}, {"data": {"x_train": []}, "dni": 3}) == {
        "data": {"x_train": []},
        "dni": 3,
    }


def test_what_describes_rows_of_numbers_is_refused_for_other_models() -> None:
    assert refusal(model="vgg", hidden=(8,)).startswith("Hidden describes mlp and torch-mlp")
    assert refusal(model="gpt", network={"activation": "tanh"}).startswith("Network.activation describes mlp")
