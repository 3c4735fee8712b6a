"""Emulation: slow devices that are not there, by waiting. For measuring what a schedule would do on other hardware."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from decoupled.config import EmulationOptions
from decoupled.nn.dense import DenseStage
from decoupled.nn.stage import LossResult, Pass, Quality, Stage
from decoupled.runtime.assignment import Assignment, make_stage
from decoupled.runtime.process import wake_on_time
from decoupled.runtime.resolve import training
from decoupled.tensors import Array, Tensors

PRODUCTS = 3  # of a layer in backprop: the output, the weights' gradient, the input's gradient
LENGTH = 64  # that sequences are taken to have, where lengths vary

Sleep = Callable[[float], None]
Clock = Callable[[], float]
T = TypeVar("T")


def build_stage(assignment: Assignment, sleep: Sleep = time.sleep, clock: Clock = time.monotonic) -> Stage:
    """The assignment's stage, on the device that its run wants emulated, if any."""
    made, emulation = make_stage(assignment), assignment.run.emulation
    stage: Stage = made
    if emulation.device_ms is not None:
        wake_on_time()
        sample_s = emulation.device_ms / 1000 / PRODUCTS / assignment.run.batch
        device = Device(len(assignment.layers), *head_products(assignment, made), sample_s)
        stage = EmulatedStage(stage, device, sleep, clock)
    if emulation.straggler == assignment.place.stage:
        stage = Straggler(stage, emulation, sleep, clock)
    return stage


def head_products(assignment: Assignment, stage: Stage) -> tuple[float, float]:
    """What the stage's head takes to synthesize and to refine, in products of a layer; nothing where that is not known."""
    if not assignment.has_head:
        return 0.0, 0.0
    model, layers = assignment.model, assignment.layers
    if isinstance(stage, DenseStage) and stage.head is not None and (counted := model.work(1)) is not None:
        synthesize, refine = stage.head.work
        return synthesize / counted.forward[layers[-1]], refine / counted.forward[layers[-1]]
    trained = training(assignment.run, assignment.steps_total, True, assignment.place.stage)
    of_head, of_stage = model.head_work(layers, trained, LENGTH)
    share = of_head / of_stage if of_stage else 0.0  # every layer counts as one, whatever it has to compute
    return share * PRODUCTS * len(layers), share * PRODUCTS * len(layers)


@dataclass(frozen=True, slots=True)
class Device:
    """How long an emulated device takes: everything in products of a layer, each of `sample_s` for a sample."""

    layers: int
    synthesize: float
    refine: float
    sample_s: float


class EmulatedStage:
    """A stage that waits where another computes. Everything else is real.

    Its layers' and its head's products take time, the input's gradient of its first layer only where it is wanted;
    element-wise work takes none.

    What it passes on are zeros of the right shapes, so messages are as large as ever and nothing is learnt. The device has
    a clock of its own: what its host does between two calls takes no time of the device, if it is less than HOST_S, just
    as a device with a queue goes on while its host prepares the next call.
    """

    HOST_S = 0.0005

    def __init__(self, stage: Stage, device: Device, sleep: Sleep, clock: Clock) -> None:
        self._stage, self._device = stage, device
        self._sleep, self._clock = sleep, clock
        self._free_at = 0.0  # by the clock, when the device has done all it was given
        self.inputs, self.outputs, self.version = stage.inputs, stage.outputs, 0

    def forward(self, x: Tensors, training: bool = True) -> Pass:
        rows, length = len(x[0]), self.inputs.length_in(x)
        if training:
            self._compute(self._device.layers, rows)
        return Pass(self.outputs.zeros(rows, length), (rows, length))

    def loss(self, passed: Pass, targets: Tensors) -> LossResult:
        return LossResult(0.0, self.outputs.gradients.zeros(*passed.saved), None, passed.saved[0])

    def synthesize(self, passed: Pass, targets: Tensors) -> Tensors:
        self._compute(self._device.synthesize, passed.saved[0])
        return self.outputs.gradients.zeros(*passed.saved)

    def backward(self, passed: Pass, gradients: Tensors, want_dx: bool, keep: bool = False) -> Tensors | None:
        self._compute(2 * self._device.layers - 1 + want_dx, passed.saved[0])
        return self.inputs.gradients.zeros(*passed.saved) if want_dx else None

    def step(self, samples: int) -> None:
        self.version += 1

    def refine(self, passed: Pass, targets: Tensors, gradients: Tensors) -> Quality:
        self._compute(self._device.refine, passed.saved[0])
        return Quality(0.0, 0.0, 0.0)

    def published(self) -> Tensors:
        return self._stage.published()

    def adopt(self, published: Tensors) -> None:
        self._stage.adopt(published)

    def model_state(self) -> dict[str, Array]:
        return self._stage.model_state()

    def state_dict(self) -> dict[str, Array]:
        return self._stage.state_dict() | {"updates": np.array(self.version)}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._stage.load_state_dict(state)
        self.version = self._stage.version

    def _compute(self, products: float, samples: int) -> None:
        now = self._clock()
        begun = self._free_at if now - self._free_at < self.HOST_S else now
        self._free_at = begun + products * samples * self._device.sample_s
        self._sleep(max(self._free_at - now, 0.0))


class Straggler:
    """A stage for which everything takes several times as long, always or for a while of every so many seconds."""

    def __init__(self, stage: Stage, emulation: EmulationOptions, sleep: Sleep, clock: Clock) -> None:
        self._stage, self._emulation, self._sleep, self._clock = stage, emulation, sleep, clock
        self._built_at = clock()
        self.inputs, self.outputs = stage.inputs, stage.outputs

    @property
    def version(self) -> int:
        return self._stage.version

    @version.setter
    def version(self, version: int) -> None:
        self._stage.version = version

    def forward(self, x: Tensors, training: bool = True) -> Pass:
        return self._slowly(lambda: self._stage.forward(x, training))

    def loss(self, passed: Pass, targets: Tensors) -> LossResult:
        return self._slowly(lambda: self._stage.loss(passed, targets))

    def synthesize(self, passed: Pass, targets: Tensors) -> Tensors:
        return self._slowly(lambda: self._stage.synthesize(passed, targets))

    def backward(self, passed: Pass, gradients: Tensors, want_dx: bool, keep: bool = False) -> Tensors | None:
        return self._slowly(lambda: self._stage.backward(passed, gradients, want_dx, keep))

    def step(self, samples: int) -> None:
        self._slowly(lambda: self._stage.step(samples))

    def refine(self, passed: Pass, targets: Tensors, gradients: Tensors) -> Quality:
        return self._slowly(lambda: self._stage.refine(passed, targets, gradients))

    def published(self) -> Tensors:
        return self._stage.published()

    def adopt(self, published: Tensors) -> None:
        self._stage.adopt(published)

    def model_state(self) -> dict[str, Array]:
        return self._stage.model_state()

    def state_dict(self) -> dict[str, Array]:
        return self._stage.state_dict()

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._stage.load_state_dict(state)

    def _slowly(self, work: Callable[[], T]) -> T:
        started = self._clock()
        result = work()
        if self._is_slow(started):
            self._sleep((self._clock() - started) * (self._emulation.straggler_factor - 1))
        return result

    def _is_slow(self, now: float) -> bool:
        """It comes first, and then goes."""
        for_s, every_s = self._emulation.straggler_for_s, self._emulation.straggler_every_s
        return for_s is None or every_s is None or (now - self._built_at) % every_s < for_s
