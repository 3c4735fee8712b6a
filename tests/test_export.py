"""Export: a file of each format holds the same network, and a runtime of another's answers as it does."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors import safe_open

from decoupled import export as exports
from decoupled.checkpoint import load_arrays
from decoupled.errors import UsageError
from decoupled.export import FORMATS, export
from decoupled.nn.layers import ACTIVATIONS
from decoupled.nn.losses import LOSSES
from decoupled.nn.network import Architecture, Network, build_layer
from decoupled.nn.parameters import Array
from decoupled.nn.targets import CLASSIFICATION, DEVIATION, MEAN, REGRESSION, Targets

WIDTHS = (6, 9, 8, 5)
NEAR = {"float32": 1e-5, "float64": 1e-9}  # an ONNX batch norm has its epsilon in single precision
SCALINGS: dict[str, dict[str, Array]] = {
    "pixels": {"input.mean": np.array([111.5]), "input.deviation": np.array([73.25])},
    "features": {"input.mean": np.linspace(-2, 3, 6), "input.deviation": np.linspace(0.5, 4, 6)},
    "as they are": {},
}
SCALE = {MEAN: np.array([3e5, -2.0, 0.0, 1.7e9, 5.0]), DEVIATION: np.array([9e4, 1.0, 1e-3, 60.0, 1.0])}


def network(scaling: str = "features", **choices: Any) -> Network:
    """A network whose every array is far from its initial value, running statistics among them."""
    architecture = Architecture(WIDTHS, **choices)
    rng = np.random.default_rng(5)
    layers = [layer for index in range(architecture.layers) for layer in build_layer(architecture, index, seed=3)]
    arrays = {p.name: p.value + rng.standard_normal(p.value.shape) / 4 for layer in layers for p in layer.parameters}
    for layer in layers:
        arrays |= {name: rng.uniform(0.1, 2, value.shape) for name, value in layer.state.items()}
    return Network(architecture, {name: value.astype(architecture.dtype) for name, value in (arrays | SCALINGS[scaling]).items()})


def raw_inputs(scaling: str, samples: int) -> Array:
    rng = np.random.default_rng(samples)
    if scaling == "pixels":
        return rng.integers(0, 256, (samples, WIDTHS[0]), np.uint8)
    return rng.standard_normal((samples, WIDTHS[0])).astype(np.float32) * 3


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("suffix", [".onnx", ".npz", ".safetensors"])
def test_standardised_values_are_in_the_users_units_in_every_format(suffix: str, tmp_path: Path) -> None:
    plain = network(loss="squared")
    ours = Network(plain.architecture, plain.arrays, Targets(REGRESSION, mean=SCALE[MEAN], deviation=SCALE[DEVIATION]))
    export(ours, tmp_path / f"model{suffix}")
    x = raw_inputs("features", 7)

    if suffix == ".onnx":
        answers, outputs = session(tmp_path / "model.onnx").run(["answers", "outputs"], {"inputs": x})
        assert (answers == outputs).all()
    else:
        answers = Network(ours.architecture, READERS[suffix](tmp_path / f"model{suffix}")[0]).predict(x)

    assert answers.dtype == ours.predict(x).dtype == np.float64
    np.testing.assert_allclose((answers - SCALE[MEAN]) / SCALE[DEVIATION], plain.predict(x), rtol=NEAR["float32"], atol=1e-5)


def test_the_labels_of_classes_are_among_what_is_said(tmp_path: Path) -> None:
    labels = np.array(["ant", "bee", "cat", "dog", "emu"])
    export(Network(network().architecture, network().arrays, Targets(CLASSIFICATION, labels)), tmp_path / "model.npz")

    assert json.loads(read_npz(tmp_path / "model.npz")[1])["targets"]["labels"] == labels.tolist()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_norm", [True, False], ids=["norm", "no norm"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_onnx_runtime_answers_as_the_network_does(
    activation: str, batch_norm: bool, loss: str, dtype: str, scaling: str, tmp_path: Path
) -> None:
    ours = network(scaling, activation=activation, batch_norm=batch_norm, loss=loss, dtype=dtype)
    export(ours, tmp_path / "model.onnx")
    theirs = session(tmp_path / "model.onnx")

    for samples in (1, 7):
        x = raw_inputs(scaling, samples)
        answers, outputs = theirs.run(["answers", "outputs"], {"inputs": x.astype(dtype)})
        assert outputs.dtype == dtype
        np.testing.assert_allclose(outputs, ours.outputs(x), rtol=NEAR[dtype], atol=NEAR[dtype])
        assert answers.dtype == ours.predict(x).dtype
        np.testing.assert_allclose(answers, ours.predict(x), rtol=NEAR[dtype], atol=NEAR[dtype])


def test_the_answers_that_are_compared_are_not_all_the_same() -> None:
    """Or a graph that answers always the same would pass."""
    for loss in LOSSES:
        assert len(np.unique(network(loss=loss).predict(raw_inputs("features", 7)))) > 1


@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_of_zero_and_equal_outputs_are_answered_as_the_network_does(loss: str, tmp_path: Path) -> None:
    ours = network(loss=loss)
    nothing = {name: np.zeros_like(ours.arrays[name]) for name in ("layer2.weight", "layer2.bias")}
    ours = Network(ours.architecture, ours.arrays | nothing)
    export(ours, tmp_path / "model.onnx")

    x = raw_inputs("features", 7)
    answers, outputs = session(tmp_path / "model.onnx").run(["answers", "outputs"], {"inputs": x})

    assert not outputs.any()
    np.testing.assert_array_equal(answers, ours.predict(x))


def test_an_onnx_graph_shows_the_layers_by_name(tmp_path: Path) -> None:
    export(network(activation="tanh"), tmp_path / "model.onnx")

    graph = onnx.load(tmp_path / "model.onnx").graph

    assert [(node.op_type, node.name) for node in graph.node] == [
        ("Sub", "input.centred"),
        ("Div", "input.standardised"),
        ("Gemm", "layer0.dense"),
        ("BatchNormalization", "layer0.norm"),
        ("Tanh", "layer0.tanh"),
        ("Gemm", "layer1.dense"),
        ("BatchNormalization", "layer1.norm"),
        ("Tanh", "layer1.tanh"),
        ("Gemm", "layer2.dense"),
        ("Identity", "outputs"),
        ("ArgMax", "answers"),
    ]
    assert {array.name for array in graph.initializer} == network().arrays.keys()


def read_npz(path: Path) -> tuple[dict[str, Array], str]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive}
    return arrays, arrays.pop("about").tobytes().decode()


def read_safetensors(path: Path) -> tuple[dict[str, Array], str]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["about"]  # noqa: SIM118 (not a mapping)


def read_onnx(path: Path) -> tuple[dict[str, Array], str]:
    model = onnx.load(path)
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
    return arrays, next(entry.value for entry in model.metadata_props if entry.key == "about")


READERS = {".npz": read_npz, ".safetensors": read_safetensors, ".onnx": read_onnx}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_holds_the_arrays_and_what_is_needed_to_build_the_network_elsewhere(
    suffix: str, dtype: str, tmp_path: Path
) -> None:
    ours = network(activation="sigmoid", dtype=dtype)
    export(ours, tmp_path / f"model{suffix}")

    arrays, about = READERS[suffix](tmp_path / f"model{suffix}")

    assert json.loads(about)["architecture"] == {
        "widths": list(WIDTHS), "activation": "sigmoid", "batch_norm": True, "loss": "softmax", "dtype": dtype,
        "activation_args": {}, "loss_args": {},
    }  # fmt: skip
    assert arrays.keys() == ours.arrays.keys()
    for name, array in ours.arrays.items():
        assert arrays[name].dtype == dtype
        np.testing.assert_array_equal(arrays[name], array)
    x = raw_inputs("features", 7)
    np.testing.assert_array_equal(Network(ours.architecture, arrays).outputs(x), ours.outputs(x))


@pytest.mark.parametrize("batch_norm", [True, False], ids=["norm", "no norm"])
def test_the_arrays_stand_for_what_the_readme_says(batch_norm: bool, tmp_path: Path) -> None:
    ours = network(activation="tanh", batch_norm=batch_norm, dtype="float64")
    export(ours, tmp_path / "model.npz")
    arrays, about = read_npz(tmp_path / "model.npz")
    last = len(json.loads(about)["architecture"]["widths"]) - 2

    x = (raw_inputs("features", 7) - arrays["input.mean"]) / arrays["input.deviation"]
    for i in range(last + 1):
        x = x @ arrays[f"layer{i}.weight"] + arrays.get(f"layer{i}.bias", 0)
        if batch_norm and i < last:
            scale, shift, mean, variance = (arrays[f"layer{i}.norm.{name}"] for name in ("scale", "shift", "mean", "variance"))
            x = (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
        if i < last:
            x = np.tanh(x)

    np.testing.assert_allclose(x, ours.outputs(raw_inputs("features", 7)), rtol=1e-9)


def test_a_safetensors_file_can_be_read_back_as_a_runs_model(tmp_path: Path) -> None:
    export(network(), tmp_path / "model.safetensors")

    arrays, about = load_arrays(tmp_path / "model.safetensors")

    assert arrays.keys() == network().arrays.keys()
    assert about["architecture"]["widths"] == list(WIDTHS)


@pytest.mark.parametrize("name", ["model.pt", "model", "model.onnx.gz", ".npz"])
def test_another_suffix_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"names no format to export to: let it end in \.npz, \.safetensors, \.onnx\."):
        export(network(), tmp_path / name)

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_cannot_be_written_is_named(suffix: str, tmp_path: Path) -> None:
    folder, lost = tmp_path / f"folder{suffix}", tmp_path / "missing" / f"model{suffix}"
    folder.mkdir()

    for path, reason in ((folder, "Is a directory"), (lost, "No such file or directory")):
        with pytest.raises(UsageError) as refused:
            export(network(), path)
        assert str(refused.value) == f"{path} cannot be written: {reason}."
    assert os.listdir(tmp_path) == [folder.name]
    assert os.listdir(folder) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        export(network(), path)

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_without_the_package_onnx_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(UsageError, match=r"pip install 'decoupled-trainer\[onnx\]'"):
        export(network(), tmp_path / "model.onnx")

    assert os.listdir(tmp_path) == []


def test_a_network_too_large_for_onnx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ONNX_BYTES_MAX", sum(array.nbytes for array in network().arrays.values()) - 1)

    with pytest.raises(UsageError, match=r"ONNX ends at 2 GiB\. Export it as \.safetensors"):
        export(network(), tmp_path / "model.onnx")

    assert os.listdir(tmp_path) == []


def test_an_onnx_model_is_checked_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(exports.ANSWERS, "softmax", [("ArgMost", "answers", [], {})])

    with pytest.raises(onnx.checker.ValidationError, match="ArgMost"):
        export(network(), tmp_path / "model.onnx")

    assert os.listdir(tmp_path) == []
