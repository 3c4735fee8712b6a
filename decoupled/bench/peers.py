"""Peers: the same training in PyTorch, in one process and as pipelines, each at its own best settings."""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from decoupled.bench.choice import Choice, choose
from decoupled.bench.short_runs import TIMED_UPDATES
from decoupled.bench.trial import Outcome, child, seconds_to, timed
from decoupled.errors import RunFailed
from decoupled.nn.partition import partition
from decoupled.resources import cores
from decoupled.runtime.resolve import ResolvedRun, work_of

NAMES = ("torch", "torch gpipe", "torch 1f1b")
FUSED = ("adam", "adamw", "sgd")  # optimisers of which PyTorch has a form that makes its update in one sweep


@dataclass(frozen=True, slots=True)
class Settings:
    """How torch runs: `fused` says which optimiser it uses; `workers` and `microbatches` are for pipelines."""

    kind: str
    threads: int
    fused: bool
    workers: int = 1
    microbatches: int = 1

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        if self.kind == "single":
            return f"{'fused' if self.fused else 'plain'} optimiser, {threads}"
        return f"{self.workers} processes, {self.microbatches} microbatches, {threads} each"


def is_there() -> bool:
    """Whether torch can be imported; it is not imported for that."""
    return importlib.util.find_spec("torch") is not None


def candidates(name: str, resolved: ResolvedRun) -> list[Settings]:
    """The settings worth trying for that peer on this machine."""
    ways = (True, False) if resolved.run.optimiser.name in FUSED else (False,)
    if name == "torch":
        return [Settings("single", threads, fused) for threads in sorted({1, cores()}) for fused in ways]
    kind = name.removeprefix("torch ")
    workers = sorted({w for w in (2, cores(), len(resolved.stages)) if 1 < w <= resolved.model.layers})
    return [
        Settings(kind, 1, ways[0], w, m)
        for w in workers
        for m in (1, 2, 4, 8)
        if resolved.run.batch % m == 0 and resolved.run.batch // m > 1 and (kind == "gpipe" or m >= w)
    ]


def best(name: str, resolved: ResolvedRun, warm_up: int, on_try: Callable[[str], None]) -> tuple[Settings, Choice]:
    """The fastest of the candidates, and how it was chosen. Raises RunFailed when there is none that works."""
    if name != "torch" and not _has_fixed_shapes(resolved):
        raise RunFailed("its pipelines pass one array of a fixed shape from stage to stage.")
    settings = {str(one): one for one in candidates(name, resolved)}
    if not settings:
        raise RunFailed(f"no number of microbatches suits a batch of {resolved.run.batch}.")
    updates = warm_up + TIMED_UPDATES
    tries = {text: partial(_rate, one, resolved, warm_up, updates) for text, one in settings.items()}
    choice = choose(name, tries, on_try)
    return settings[choice.best], choice


def _has_fixed_shapes(resolved: ResolvedRun) -> bool:
    """Whether one array of floats flows wherever the model may be cut, and no length varies."""
    flows = [resolved.model.flow(layer) for layer in range(resolved.model.layers + 1)]
    is_fixed = all(None not in one.shape for flow in (*flows, resolved.targets) for one in flow.arrays)
    return is_fixed and all(len(flow) == len(flow.gradients) == 1 for flow in flows[1:])


def _rate(settings: Settings, resolved: ResolvedRun, warm_up: int, updates_max: int) -> float:
    rate: float = _ask(settings, resolved, warm_up, updates_max)["samples_per_s"]
    return rate


def held_out_accuracy(settings: Settings, resolved: ResolvedRun) -> float:
    """After a quarter of the run without a tenth of its training set, on that tenth. Raises RunFailed as `train` does."""
    accuracy: float = _ask(settings, resolved, 0, None, is_held_out=True)["evaluations"][-1]["accuracy"]
    return accuracy


def train(settings: Settings, resolved: ResolvedRun, warm_up: int, target: float | None, by_clock: bool = False) -> Outcome:
    """Trains the run in torch. Raises RunFailed with its error message."""
    said = _ask(settings, resolved, warm_up, None)
    rate = said["samples_per_s"]
    evaluations = timed(said["evaluations"], resolved.dataset.samples, None if by_clock else rate)
    final = evaluations[-1] if evaluations else {"accuracy": None, "loss": None}
    final_ones = {"test_accuracy": final["accuracy"], "test_loss": final["loss"]}
    report = said | final_ones | {"evaluations": evaluations, "settings": str(settings)}
    return Outcome(rate, seconds_to(target, evaluations), report)


def _ask(
    settings: Settings, resolved: ResolvedRun, warm_up: int, updates_max: int | None, is_held_out: bool = False
) -> dict[str, Any]:
    stages = resolved.stages
    if settings.workers != len(stages):
        stages = partition(work_of(resolved), settings.workers)
    how = {"kind": settings.kind, "threads": settings.threads, "fused": settings.fused, "microbatches": settings.microbatches}
    what = {"run": resolved.run.model_dump(mode="json"), "stages": stages, "updates_max": updates_max, "warm_up": warm_up}
    what |= {"is_held_out": is_held_out}
    said: dict[str, Any] = json.loads(child([sys.executable, "-m", "decoupled.bench.torch_peer"], json.dumps(what | how)))
    return said
