"""The warm-up: it goes through everything, and leaves no trace in the run."""

import numpy as np
import pytest

from decoupled.config import Run
from decoupled.data.arrays import from_mapping
from decoupled.data.dataset import Dataset
from decoupled.nn import kernels
from decoupled.nn.dense import DenseStage
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Pass
from decoupled.runtime.assignment import Assignment, assign, make_stage
from decoupled.runtime.resolve import resolve
from decoupled.runtime.warmup import warm_up
from decoupled.tensors import Tensors
from tests.datasets import blobs
from tests.stages import dense_stage

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6)).astype(np.float32)
TARGETS: dict[str, Array] = {
    "softmax": rng.integers(0, 3, 40),
    "sigmoid": rng.integers(0, 2, (40, 3)).astype(np.uint8),
    "squared": rng.standard_normal((40, 3)).astype(np.float32),
}
DATA: dict[str, Dataset] = {
    loss: from_mapping({"x_train": X, "y_train": y, "x_test": X, "y_test": y}, loss) for loss, y in TARGETS.items()
}


def assignments(dataset: Dataset, **values: object) -> list[Assignment]:
    resolved = resolve(Run(**{"hidden": (8, 8), "batch": 10} | values), dataset)
    return [assign(resolved, stage) for stage in range(len(resolved.stages))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("head", ["readout", "linear", "linear-label", "mlp-label"])
@pytest.mark.parametrize("loss", TARGETS)
def test_every_head_loss_and_dtype_can_be_warmed_up(loss: str, head: str, dtype: str) -> None:
    for assignment in assignments(DATA[loss], head=head, network={"dtype": dtype}):
        warm_up(assignment)


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("schedule", ["single", "lockstep", "gpipe", "1f1b", "2bw"])
def test_stages_without_heads_can_be_warmed_up_with_any_loss(loss: str, schedule: str) -> None:
    for assignment in assignments(DATA[loss], schedule=schedule):
        warm_up(assignment)


@pytest.mark.parametrize(
    "values",
    [
        {"schedule": "single"},
        {"schedule": "gpipe", "optimiser": {"name": "sgd"}},
        {"workers": 2, "network": {"activation": "tanh"}},
        {"network": {"batch_norm": False}, "heads": {"width": 0}},
        {"hidden": ()},
    ],
    ids=str,
)
def test_every_kind_of_stage_can_be_warmed_up(values: dict[str, object]) -> None:
    for assignment in assignments(blobs(), **values):
        warm_up(assignment)


def trained(assignment: Assignment) -> tuple[dict[str, Array], Array]:
    """A stage's arrays after one step, and what its head then says."""
    stage = make_stage(assignment)
    h = stage.inputs.zeros(10)[0].astype(np.float32) + 1
    h += np.arange(10, dtype=np.float32)[:, None]
    targets = np.arange(10) % 3
    passed = stage.forward((h,))
    (synthetic,) = stage.synthesize(passed, (targets,))
    stage.backward(passed, (synthetic + 0.1,), want_dx=False)
    stage.step(10)
    return stage.model_state(), stage.synthesize(stage.forward((h,)), (targets,))[0]


@pytest.mark.parametrize("number", [0, 1])
def test_a_warm_up_does_not_change_what_comes_after_it(number: int) -> None:
    assignment = assignments(blobs())[number]
    arrays, guess = trained(assignment)

    warm_up(assignment)
    again, guess_again = trained(assignment)

    assert all((again[name] == array).all() for name, array in arrays.items())
    assert (guess == guess_again).all()


def test_a_warm_up_changes_neither_the_assignment_nor_the_data() -> None:
    dataset = blobs()
    assignment = assignments(dataset)[0]
    before = [array.copy() for array in (dataset.x_train, dataset.y_train, *assignment.scaling)]

    warm_up(assignment)

    after = (dataset.x_train, dataset.y_train, *assignment.scaling)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def signature(*arrays: object) -> list[tuple[str, bool] | None]:
    """What a kernel is compiled for: each array's type, and whether it may be written."""
    return [(str(a.dtype), a.flags.writeable) if isinstance(a, np.ndarray) else None for a in arrays]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_run_calls_no_kernel_for_types_that_were_not_warmed_up(
    stage: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would be compiled in the middle of the run, within what is timed."""
    met: set[str] = set()

    def listen(name: str) -> None:
        kernel = getattr(kernels, name)

        def noting(*arguments: object) -> object:
            met.add(f"{name} {signature(*arguments)}")
            return kernel(*arguments)

        monkeypatch.setattr(kernels, name, noting)

    for name in ("adam", "scale", "moments", "scale_relu", "norm_relu_sums", "norm_relu_back", "softmax_cross_entropy"):
        listen(name)
    assignment = assignments(blobs(), network={"dtype": dtype})[stage]
    warm_up(assignment)
    warmed = set(met)
    met.clear()

    run_once(dense_stage(assignment), assignment)

    assert warmed
    assert met <= warmed


def run_once(stage: DenseStage, assignment: Assignment) -> None:
    """One microbatch as it comes over the wire, read-only, and the returned gradient likewise."""
    x, targets = stage.inputs.zeros(7)[0], rng.integers(0, 3, 7)
    x += rng.standard_normal(x.shape).astype(x.dtype)
    x.flags.writeable = targets.flags.writeable = False
    passed = stage.forward((x,))
    if stage.head is None:
        gradients = stage.loss(passed, (targets,)).gradients
    else:
        gradients = stage.synthesize(passed, (targets,))
        returned = gradients[0].copy()
        returned.flags.writeable = False
        stage.refine(passed, (targets,), (returned,))
        stage.backward(passed, (returned,), want_dx=not assignment.place.is_first)
        stage.step(7)
    stage.backward(passed, gradients, want_dx=not assignment.place.is_first)
    stage.step(7)
    stage.forward((x,), training=False)


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "float64")])
def test_a_stage_is_warmed_up_with_inputs_as_they_will_come(stage: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stage's in the type of the data, the others' in what the network computes in; each read-only and not."""
    kinds: set[tuple[str, bool]] = set()
    forward = DenseStage.forward

    def noting(self: DenseStage, x: Tensors, training: bool = True) -> Pass:
        kinds.update((str(array.dtype), array.flags.writeable) for array in x)
        return forward(self, x, training)

    monkeypatch.setattr(DenseStage, "forward", noting)
    warm_up(assignments(blobs(), network={"dtype": "float64"})[stage])

    assert kinds == {(dtype, True), (dtype, False)}
