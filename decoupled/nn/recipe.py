"""A recipe: all that a network is made of again, beside what it has learnt. It is kept with a trained network as plain values."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from decoupled.nn.catalogue import MODELS
from decoupled.nn.model import ModelSite
from decoupled.tensors import TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """A model by its name or its reference, with its options, and what it is made for."""

    model: str
    options: dict[str, Any]
    site: ModelSite
    dtype: str
    loss_args: dict[str, Any]

    def make(self) -> Any:
        """What the model's factory gives. Raises UsageError when it cannot be had, or has no such options."""
        MODELS.fitting(self.model, 1, self.options)  # which imports what it is made with
        with seeded(self.site.seed):
            return MODELS.make(self.model, self.site, options=self.options)

    def to_json(self) -> dict[str, Any]:
        site = self.site
        return {
            "model": self.model,
            "args": self.options,
            "inputs": site.inputs.to_body(),
            "targets": site.targets.to_body(),
            "outputs": site.outputs,
            "scaling": [scale.tolist() for scale in site.scaling],
            "loss": site.loss,
            "loss_args": self.loss_args,
            "dtype": self.dtype,
            "seed": site.seed,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Raises KeyError, TypeError or ValueError when these are not what `to_json` gave."""
        mean, deviation = (np.array(scale, np.float64) for scale in values["scaling"])
        site = ModelSite(
            inputs=TensorSpec.from_body(values["inputs"]),
            targets=TensorSpec.from_body(values["targets"]),
            outputs=int(values["outputs"]),
            scaling=(mean, deviation),
            loss=str(values["loss"]),
            seed=int(values["seed"]),
        )
        return cls(str(values["model"]), dict(values["args"]), site, str(values["dtype"]), dict(values["loss_args"]))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Has a model that PyTorch draws weights for draw the same for a seed; the caller's random numbers go on as before."""
    torch = sys.modules.get("torch")  # what the model is made with has been imported with it
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
