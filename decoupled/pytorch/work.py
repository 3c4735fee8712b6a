"""Work: how many multiplications a stage and its head make for a sample, as PyTorch counts them."""

from collections.abc import Callable
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from decoupled.pytorch.stage import TorchStage
from decoupled.tensors import TensorSpec

ROWS = 4  # passed through to count


def head_and_stage(stage: TorchStage, targets: TensorSpec, length: int) -> tuple[int, int]:
    """Multiplications for a sample, forward and backward: the head's (0 without one), and the stage's.

    Lengths that vary are taken to be `length`. Element-wise work and pooling count nothing.
    """
    passed = stage.forward(stage.inputs.zeros(ROWS, length))
    gradients = stage.outputs.gradients.zeros(ROWS, stage.outputs.length_in(passed.outputs))
    wanted = targets.zeros(ROWS, length)
    of_stage = _count(lambda: stage.backward(stage.forward(stage.inputs.zeros(ROWS, length)), gradients, want_dx=True))
    of_head = _count(lambda: stage.synthesize(passed, wanted)) if stage.head is not None else 0
    return of_head, of_stage


class _Counter(TorchDispatchMode):
    """Adds up what PyTorch's own formulas say. Its FlopCounterMode tracks modules as well, which autograd.grad does not bear."""

    operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.operations += formula(*args, **(kwargs or {}), out_val=made)
        return made


def _count(work: Callable[[], object]) -> int:
    # There are formulas for the products of attention, and not for every kernel that fuses them.
    with sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
        work()
    operations: int = counter.operations
    return operations // 2 // ROWS  # an addition goes with each multiplication
