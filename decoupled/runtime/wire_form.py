"""The form in which activations and gradients travel: as they are, or in a narrower type, for links that are slow.

Integers and booleans, and what enters the first stage, always travel as they are. Stages compute in their own types. A
bfloat16 on the way costs a float32 its last 16 bits; an int8 leaves it 255 steps between plus and minus its sample's largest.
"""

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from decoupled.tensors import Array, ArraySpec, Tensors, TensorSpec
from decoupled.wire.messages import Kind, Message

Narrow: TypeAlias = Literal["float32", "bfloat16", "float16", "int8"]

FLOAT16_MAX = 65_504.0
STEPS = 127  # from 0 to the largest magnitude of an int8
SCALE = ArraySpec("float32", ())  # of one sample


class WireForm:
    """How arrays of a specification travel; `spec` describes what does."""

    def __init__(self, own: TensorSpec, narrow: Narrow | None) -> None:
        """Without `narrow` all travel as they are."""
        self._own, self._narrow = own, narrow
        self.spec = TensorSpec(tuple(travelling for one in own.arrays for travelling in self._travelling(one)))

    def _travelling(self, one: ArraySpec) -> tuple[ArraySpec, ...]:
        if self._narrow is None or not one.has_gradient:
            return (one,)
        narrow = ArraySpec(self._narrow, one.shape)
        return (narrow, SCALE) if self._narrow == "int8" else (narrow,)

    def pack(self, tensors: Tensors) -> Tensors:
        """What travels for these."""
        if self._narrow is None:
            return tensors
        pairs = zip(self._own.arrays, tensors, strict=True)
        return tuple(part for spec, array in pairs for part in (self._packed(array) if spec.has_gradient else (array,)))

    def _packed(self, array: Array) -> Tensors:
        if self._narrow == "float16":  # which ends at 65,504, where a larger number would become infinite
            array = np.clip(array, -FLOAT16_MAX, FLOAT16_MAX)
        if self._narrow != "int8":
            return (array.astype(self._narrow, copy=False),)
        rows = array.reshape(len(array), -1)
        scale = (np.abs(rows).max(axis=1, initial=0) / STEPS).astype(np.float32)
        steps = rows / np.where(scale == 0, 1, scale)[:, None]
        return np.rint(steps).astype(np.int8).reshape(array.shape), scale

    def unpack(self, travelled: Tensors) -> Tensors:
        """The arrays in their own types. Raises ValueError when what came is not in this form."""
        if self._narrow is None:
            return travelled
        self.spec.check(travelled)
        parts, found = iter(travelled), list[Array]()
        for spec in self._own.arrays:
            array = next(parts)
            if spec.has_gradient and self._narrow == "int8":
                scale = next(parts).reshape(-1, *[1] * (array.ndim - 1))
                array = array.astype(spec.dtype) * scale.astype(spec.dtype)
            found.append(array.astype(spec.dtype, copy=False))
        return tuple(found)


class WireForms:
    """The forms of all that passes over a stage's two links."""

    def __init__(
        self, inputs: TensorSpec, outputs: TensorSpec, targets: TensorSpec, is_first: bool, narrow: Narrow | None
    ) -> None:
        self._inputs, self._outputs = WireForm(inputs, None if is_first else narrow), WireForm(outputs, narrow)
        self._sent_up, self._returned = WireForm(inputs.gradients, narrow), WireForm(outputs.gradients, narrow)
        self.takes, self.gives = self._inputs.spec + targets, self._outputs.spec + targets
        self._targets, self._is_narrow = len(targets), narrow is not None
        self._microbatch = inputs + targets

    def sent(self, message: Message) -> Message:
        """The message as it travels."""
        match message.kind:
            case _ if not self._is_narrow:
                return message
            case Kind.ACTIVATION:
                outputs, targets = _parted(message.tensors, self._targets)
                return replace(message, tensors=(*self._outputs.pack(outputs), *targets))
            case Kind.GRADIENT:
                return replace(message, tensors=self._sent_up.pack(message.tensors))
        return message

    def parted(self, message: Message) -> tuple[Tensors, Tensors]:
        """The inputs and the targets of an activation. Raises ValueError unless it can be one for this stage."""
        tensors = self.received(message)
        self._microbatch.check(tensors)
        return _parted(tensors, self._targets)

    def received(self, message: Message) -> Tensors:
        """The arrays of an activation with its targets, or of a gradient, as the stage takes them.

        Raises ValueError when they are not in their form.
        """
        if not self._is_narrow:
            return message.tensors
        if message.kind is Kind.GRADIENT:
            return self._returned.unpack(message.tensors)
        inputs, targets = _parted(message.tensors, self._targets)
        return (*self._inputs.unpack(inputs), *targets)


def _parted(tensors: Tensors, targets: int) -> tuple[Tensors, Tensors]:
    """What flows, and the targets that travel behind it."""
    return tensors[:-targets], tensors[-targets:]
