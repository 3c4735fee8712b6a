"""Export: a trained network as a file for other programs; the suffix says which format."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from decoupled.checkpoint import save_arrays, write_whole
from decoupled.errors import UsageError
from decoupled.nn.layers import BatchNorm
from decoupled.nn.model import AnsweringModel
from decoupled.nn.network import Network
from decoupled.nn.targets import DEVIATION, MEAN
from decoupled.user_code import is_reference
from decoupled.version import __version__

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # of ONNX 1.12: has every operator used here, and runtimes since 2022 read it
ONNX_BYTES_MAX = 2_000_000_000  # of arrays; the whole is one protocol buffer, which ends at 2 GiB

Operator: TypeAlias = tuple[str, str, list[str], dict[str, Any]]  # its kind, its name, the arrays it takes, its attributes

SCALE = (MEAN, DEVIATION)
ANSWERS: dict[str, list[Operator]] = {  # of the outputs, as each loss's `predict` makes them
    "softmax": [("ArgMax", "answers", [], {"axis": 1, "keepdims": 0})],
    "sigmoid": [("Greater", "outputs.positive", ["zero"], {}), ("Cast", "answers", [], {"to": 2})],  # ONNX's number for uint8
    "squared": [("Identity", "answers", [], {})],
}


def export(network: AnsweringModel, target: str | Path) -> None:
    """Writes the network to an .npz, .safetensors or .onnx file, whole or not at all.

    Raises UsageError for another suffix, a file that cannot be written, and what the format or its package cannot do.
    """
    path = Path(target)
    if path.suffix not in FORMATS:
        raise UsageError(f"{path} names no format to export to: let it end in {', '.join(FORMATS)}.")
    try:
        FORMATS[path.suffix](network, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None


def _safetensors(network: AnsweringModel, path: Path) -> None:
    """The arrays by name, and the description as JSON in the metadata `about`."""
    save_arrays(path, network.arrays, network.about)


def _npz(network: AnsweringModel, path: Path) -> None:
    """The arrays by name, and the description as an array `about` of the bytes of its JSON."""
    arrays = network.arrays | {"about": np.frombuffer(json.dumps(network.about).encode(), np.uint8)}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)  # savez of numpy 2.0 cannot be told so
    write_whole(path, content.getvalue())


def _onnx(network: AnsweringModel, path: Path) -> None:
    """The network in evaluation mode as a graph from raw `inputs` to `answers` and `outputs`.

    `answers` are class numbers (`about` has their labels), bits or values; `outputs` are the logits or values that they are
    made of, N x ... x C. Standardised values are in the user's units in both, as doubles.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError("Writing .onnx needs the package onnx. To add it: pip install 'decoupled-trainer[onnx]'") from None
    if sum(array.nbytes for array in network.arrays.values()) > ONNX_BYTES_MAX:
        raise UsageError(f"{path} cannot hold this network: ONNX ends at 2 GiB. Export it as .safetensors.")
    model = _dense(network) if isinstance(network, Network) else _of_torch(network)
    onnx.helper.set_model_props(model, {"about": json.dumps(network.about)})
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, model.SerializeToString())


def _of_torch(network: Any) -> "onnx.ModelProto":
    """Inputs are as they were trained on."""
    import onnx

    from decoupled.pytorch.export import graph  # here, because nothing else needs PyTorch

    return onnx.load_model_from_string(graph(network, OPSET))


def _dense(network: Network) -> "onnx.ModelProto":
    """Inputs are N x D, floats of the network's type."""
    import onnx

    def tensor(name: str, like: np.ndarray[Any, Any]) -> onnx.ValueInfoProto:
        kind = onnx.helper.np_dtype_to_tensor_dtype(like.dtype)
        return onnx.helper.make_tensor_value_info(name, kind, ["N", *like.shape[1:]])

    dtype = np.dtype(network.architecture.dtype)
    arrays = network.arrays | {"zero": np.zeros(1)}
    nodes, constants, value = [], [], "inputs"
    for kind, name, operands, attributes in _operators(network):
        nodes.append(onnx.helper.make_node(kind, [value, *operands], [name], name, **attributes))
        constants += [
            onnx.numpy_helper.from_array(arrays[name].astype(np.float64 if name in SCALE else dtype), name) for name in operands
        ]
        value = name
    none = np.empty((0, network.architecture.widths[0]), dtype)
    outputs = network.outputs(none)
    answers = [tensor("answers", network.loss.predict(outputs)), tensor("outputs", outputs)]
    graph = onnx.helper.make_graph(nodes, "decoupled", [tensor("inputs", none)], answers, constants)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="decoupled", producer_version=__version__
    )


def _operators(network: Network) -> Iterator[Operator]:
    """The network as ONNX operators, each of which takes what the one before it gave."""
    arrays, architecture = network.arrays, network.architecture
    for name in (architecture.activation, architecture.loss):
        if is_reference(name):
            raise UsageError(f"ONNX does not know {name}, which is code of yours. Export the network as .safetensors.")
    if "input.mean" in arrays:
        yield "Sub", "input.centred", ["input.mean"], {}
        yield "Div", "input.standardised", ["input.deviation"], {}
    for index in range(architecture.layers):
        layer = f"layer{index}"
        yield "Gemm", f"{layer}.dense", [name for name in (f"{layer}.weight", f"{layer}.bias") if name in arrays], {}
        if f"{layer}.norm.scale" in arrays:
            statistics = [f"{layer}.norm.{name}" for name in ("scale", "shift", "mean", "variance")]
            yield "BatchNormalization", f"{layer}.norm", statistics, {"epsilon": BatchNorm.EPSILON}
        if index < architecture.layers - 1:
            yield architecture.activation.capitalize(), f"{layer}.{architecture.activation}", [], {}
    if MEAN in arrays:
        yield "Cast", "target.standardised", [], {"to": 11}  # ONNX's number for float64
        yield "Mul", "target.centred", [DEVIATION], {}
        yield "Add", "outputs", [MEAN], {}
    else:
        yield "Identity", "outputs", [], {}
    yield from ANSWERS[architecture.loss]


FORMATS: dict[str, Callable[[AnsweringModel, Path], None]] = {".npz": _npz, ".safetensors": _safetensors, ".onnx": _onnx}
