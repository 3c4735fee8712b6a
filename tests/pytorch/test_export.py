"""Exported PyTorch models: plain PyTorch loads them in two lines, and an ONNX runtime answers as they do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402

from decoupled import Report, Run, UsageError, train  # noqa: E402
from decoupled.export import export  # noqa: E402
from decoupled.pytorch.models import vgg  # noqa: E402
from decoupled.tensors import Array  # noqa: E402
from tests.e2e.commands import in_process  # noqa: E402

pytestmark = pytest.mark.slow

rng = np.random.default_rng(4)
IMAGES = rng.integers(0, 256, (40, 3, 16, 16)).astype(np.uint8)
LABELS = np.array(["cat", "dog", "eel"])[IMAGES[:, :, 0, 0].argmax(1)]


def on_images(y: Array = LABELS, **values: Any) -> Report:
    data = {"x_train": IMAGES[:30], "y_train": y[:30], "x_test": IMAGES[30:], "y_test": y[30:]}
    values = {"model": "vgg", "args": {"model": {"width": 4}}} | values
    return train(Run(data=data, schedule="single", epochs=1, batch=10, **values))


def answers(path: Path, x: Array) -> tuple[Array, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    first, second = session.run(["answers", "outputs"], {"inputs": x})
    return first, second


def test_plain_pytorch_loads_the_whole_model_in_two_lines(tmp_path: Path) -> None:
    report = on_images()
    export(report.network, tmp_path / "model.safetensors")  # type: ignore[arg-type]
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    (mean, deviation), spec = about["pytorch"]["scaling"], report.network.recipe.site  # type: ignore[attr-defined]

    model = nn.Sequential(*vgg.make(spec, width=4))
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))

    x = (torch.from_numpy(IMAGES).float() - torch.tensor(mean)) / torch.tensor(deviation)
    with torch.no_grad():
        outputs = model.eval()(x)
    np.testing.assert_allclose(outputs.numpy(), report.network.outputs(IMAGES), rtol=1e-4, atol=1e-5)  # type: ignore[attr-defined]
    assert np.array(about["targets"]["labels"])[outputs.argmax(1)].tolist() == report.network.predict(IMAGES).tolist()


@pytest.mark.parametrize("task", ["classes", "bits", "values"])
def test_an_onnx_runtime_answers_for_raw_images_as_the_network_does(task: str, tmp_path: Path) -> None:
    values = IMAGES[:, :2, 0, 0].astype(np.float64) * [1e3, 1]
    y = {"classes": LABELS, "bits": (values.mean(0) < values).astype(np.uint8), "values": values}[task]
    network: Any = on_images(y, model="vgg" if task == "classes" else "resnet").network
    export(network, tmp_path / "model.onnx")

    for samples in (1, 7, 40):
        found, outputs = answers(tmp_path / "model.onnx", IMAGES[:samples])
        np.testing.assert_allclose(outputs, network.outputs(IMAGES[:samples]), rtol=1e-4, atol=1e-4)
        expected = network.predict(IMAGES[:samples])
        if task == "classes":
            np.testing.assert_array_equal(network.labels[found], expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert "about" in {entry.key for entry in onnx.load(tmp_path / "model.onnx").metadata_props}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_onnx_runtime_answers_for_a_text_as_the_network_does(dtype: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 30)
    options = {"model": {"width": 16, "depth": 2, "heads": 2}, "data": {"context": 8}}
    run = Run(
        model="gpt", data=f"text:{tmp_path / 'text.txt'}", schedule="single", epochs=1, args=options, network={"dtype": dtype}
    )
    network: Any = train(run, tmp_path / "run").network

    done = in_process("export", "run", "--to", "model.onnx", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "model.onnx: gpt of 4 blocks, from int64 N x 8 below 15 to 15 outputs\n"
    for samples in (1, 5):
        x = rng.integers(0, 15, (samples, 8))
        found, outputs = answers(tmp_path / "model.onnx", x)
        np.testing.assert_allclose(outputs, network.outputs(x), atol=1e-4 if dtype == "float32" else 5e-2)
        assert found.shape == (samples, 8)


def test_what_onnx_cannot_express_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_net.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Odd(nn.Module):\n    def forward(self, x):\n"
        "        return torch.special.bessel_j0(x.flatten(1))\n\n\n"
        "def make(spec):\n    return [Odd(), nn.Linear(768, spec.outputs)]\n"
    )
    monkeypatch.chdir(tmp_path)
    network: Any = on_images(model="my_net.py:make", args={}).network

    with pytest.raises(UsageError, match=r"ONNX cannot express this network: .*Export it as \.safetensors"):
        export(network, tmp_path / "model.onnx")
    export(network, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        assert set(archive) == {"1.weight", "1.bias", "about"}
