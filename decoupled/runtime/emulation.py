"""Emulation: slow devices that are not there, by waiting. For measuring what a schedule would do on other hardware."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from decoupled.nn.losses import Loss
from decoupled.nn.parameters import Array
from decoupled.nn.stage import Pass, Quality, Stage, StageLike
from decoupled.runtime.assignment import Assignment, make_stage
from decoupled.runtime.process import wake_on_time

PRODUCTS = 3  # of a layer in backprop: the output, the weights' gradient, the input's gradient

Sleep = Callable[[float], None]
Clock = Callable[[], float]
T = TypeVar("T")


def build_stage(assignment: Assignment, sleep: Sleep = time.sleep, clock: Clock = time.monotonic) -> StageLike:
    """The assignment's stage, on the device that its run wants emulated, if any."""
    stage, emulation = make_stage(assignment), assignment.run.emulation
    equipped: StageLike = stage
    if emulation.device_ms is not None:
        wake_on_time()
        widths, layers = assignment.architecture.widths, assignment.layers
        sample_s = emulation.device_ms / 1000 / PRODUCTS / assignment.run.batch
        device = Device(len(layers), *head_products(assignment, stage), sample_s)
        equipped = EmulatedStage(stage, device, widths[layers[0]], widths[layers[-1] + 1], sleep, clock)
    if emulation.straggler == assignment.place.stage:
        equipped = Straggler(equipped, emulation.straggler_factor, sleep, clock)
    return equipped


def head_products(assignment: Assignment, stage: Stage) -> tuple[float, float]:
    """What the stage's head takes to synthesize and to refine, in products of its last layer."""
    if stage.head is None:
        return 0.0, 0.0
    of_layer = assignment.architecture.weights(assignment.layers[-1])
    synthesize, refine = stage.head.work
    return synthesize / of_layer, refine / of_layer


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

    def __init__(self, stage: Stage, device: Device, inputs: int, outputs: int, sleep: Sleep, clock: Clock) -> None:
        self._stage, self._device, self._inputs, self._outputs = stage, device, inputs, outputs
        self._sleep, self._clock = sleep, clock
        self._free_at = 0.0  # by the clock, when the device has done all it was given
        self.loss: Loss = stage.loss
        self.weight_version = 0

    def forward(self, x: Array, training: bool = True) -> Pass:
        if training:
            self._compute(self._device.layers, len(x))
        return Pass(np.zeros((len(x), self._outputs), np.float32), ())

    def synthesize(self, passed: Pass, targets: Array) -> Array:
        self._compute(self._device.synthesize, len(targets))
        return passed.output

    def backward(self, passed: Pass, gradient: Array, want_dx: bool) -> Array | None:
        self._compute(2 * self._device.layers - 1 + want_dx, len(gradient))
        return np.zeros((len(gradient), self._inputs), np.float32) if want_dx else None

    def update(self, samples: int) -> None:
        self.weight_version += 1

    def refine(self, passed: Pass, targets: Array, gradient: Array) -> Quality:
        self._compute(self._device.refine, len(targets))
        return Quality(0.0, 0.0, 0.0)

    def arrays(self) -> dict[str, Array]:
        return self._stage.arrays()

    def state(self) -> dict[str, Array]:
        return self._stage.state() | {"updates": np.array(self.weight_version)}

    def restore(self, saved: dict[str, Array]) -> None:
        self._stage.restore(saved)
        self.weight_version = self._stage.weight_version

    def _compute(self, products: float, samples: int) -> None:
        now = self._clock()
        begun = self._free_at if now - self._free_at < self.HOST_S else now
        self._free_at = begun + products * samples * self._device.sample_s
        self._sleep(max(self._free_at - now, 0.0))


class Straggler:
    """A stage for which everything takes `factor` times as long."""

    def __init__(self, stage: StageLike, factor: float, sleep: Sleep, clock: Clock) -> None:
        self._stage, self._factor, self._sleep, self._clock = stage, factor, sleep, clock
        self.loss: Loss = stage.loss

    @property
    def weight_version(self) -> int:
        return self._stage.weight_version

    @weight_version.setter
    def weight_version(self, version: int) -> None:
        self._stage.weight_version = version

    def forward(self, x: Array, training: bool = True) -> Pass:
        return self._slowly(lambda: self._stage.forward(x, training))

    def synthesize(self, passed: Pass, targets: Array) -> Array:
        return self._slowly(lambda: self._stage.synthesize(passed, targets))

    def backward(self, passed: Pass, gradient: Array, want_dx: bool) -> Array | None:
        return self._slowly(lambda: self._stage.backward(passed, gradient, want_dx))

    def update(self, samples: int) -> None:
        self._slowly(lambda: self._stage.update(samples))

    def refine(self, passed: Pass, targets: Array, gradient: Array) -> Quality:
        return self._slowly(lambda: self._stage.refine(passed, targets, gradient))

    def arrays(self) -> dict[str, Array]:
        return self._stage.arrays()

    def state(self) -> dict[str, Array]:
        return self._stage.state()

    def restore(self, saved: dict[str, Array]) -> None:
        self._stage.restore(saved)

    def _slowly(self, work: Callable[[], T]) -> T:
        started = self._clock()
        result = work()
        self._sleep((self._clock() - started) * (self._factor - 1))
        return result
