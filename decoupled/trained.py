"""What a finished run is good for: its network's score and answers, and the timeline of its workers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from decoupled.api import load_data
from decoupled.config import GIVEN
from decoupled.data.arrays import first_sentence
from decoupled.errors import UsageError
from decoupled.folders import code_here, load_network, load_report, load_run, load_spans
from decoupled.nn.model import AnsweringModel
from decoupled.nn.parameters import Array
from decoupled.nn.sampling import continued
from decoupled.nn.scores import Score, Tally
from decoupled.telemetry.trace import middle, trace_file

CONTEXT = 64  # characters that a network looks back on which was trained on windows of any length


def trace(folders: Sequence[str | Path], target: str | Path, seconds: float = 5.0) -> int:
    """Writes the timelines of finished runs, one below the other, for chrome://tracing or ui.perfetto.dev.

    Only a stretch of so many seconds from the middle of each is written. Gives the number of events. Raises UsageError when a
    folder holds no finished run or the file cannot be written.
    """
    runs = []
    for folder in folders:
        report, spans = load_report(folder), load_spans(folder)
        runs.append((report["schedule"], middle(spans, seconds), [worker["layers"] for worker in report["workers_detail"]]))
    whole = trace_file(runs)
    try:
        Path(target).write_text(json.dumps(whole), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None
    return len(whole["traceEvents"])


def predict(folder: str | Path, source: str | Path, target: str | Path, proba: bool = False) -> Array:
    """Reads raw inputs from an .npy file, writes the network's answers to another, and gives them.

    With `proba` they are the probabilities of each class or bit. Raises UsageError for what the caller can mend.
    """
    if Path(target).suffix not in ("", ".npy"):
        raise UsageError(f"{target} cannot hold the answers, which are written as .npy.")
    network, inputs = load_network(folder), _inputs(source)
    try:
        answers = network.predict_proba(inputs) if proba else network.predict(inputs)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    try:
        with open(target, "wb") as file:
            np.save(file, answers, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None
    return answers


def sample(folder: str | Path, prompt: str, tokens: int = 200, temperature: float = 1.0, seed: int = 0) -> Iterator[str]:
    """The characters with which a network that was trained on a text goes on after the prompt, one after another.

    A temperature of 0 always takes the likeliest; the higher it is, the more freely they are drawn. Raises UsageError for a
    run on something else, and for a prompt of characters that its text lacks.
    """
    network = load_network(folder)
    labels = network.labels
    if labels is None or not _is_text(network):
        raise UsageError(f"{folder} was not trained on a text, so it cannot go on with one. Train on one: --data text:FILE")
    if not prompt:
        raise UsageError("The prompt is empty. Give at least one character to go on from.")
    if unknown := sorted(set(prompt) - set(labels.tolist())):
        raise UsageError(f"The text that {folder} was trained on has no {' '.join(map(repr, unknown))}. Leave that out.")
    numbers = np.searchsorted(labels, list(prompt)).tolist()
    follow = continued(network.outputs, numbers, network.inputs.arrays[0].shape[0] or CONTEXT, temperature, seed)
    return (str(labels[number]) for number in islice(follow, tokens))


def _is_text(network: AnsweringModel) -> bool:
    """Its inputs and its answers are characters, by the same numbers."""
    (inputs,), labels = network.inputs.arrays, network.labels
    return labels is not None and labels.dtype == "U1" and inputs.below == len(labels) and len(inputs.shape) == 1


def _inputs(source: str | Path) -> Array:
    """The array in an .npy file. Raises UsageError when it holds no samples of numbers."""
    try:
        inputs = np.load(source, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"There is no file {source}.") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise UsageError(f"{source} is not an .npy file of numbers: {first_sentence(error)}.") from None
    if not isinstance(inputs, np.ndarray):
        inputs.close()
        raise UsageError(f"{source} is an archive of arrays. Give an .npy file, with the inputs alone.")
    if inputs.dtype.kind not in "buif" or inputs.ndim < 2:
        raise UsageError(f"{source} must hold numbers of shape (samples, features).")
    return inputs


@dataclass(frozen=True, slots=True)
class Evaluated(Score):
    """A network's score, and on how many samples."""

    samples: int = 0


def evaluate(folder: str | Path, data_source: str | Mapping[str, Any] | None = None) -> Evaluated:
    """The score of a run's network on its test set, or that of `data_source`. Raises UsageError when that does not fit it."""
    network = load_network(folder)
    run = load_run(folder).with_references(code_here(folder)).model_copy(update={"task": network.targets.task})
    if data_source is not None:
        run = run.model_copy(update={"data": data_source})
    elif run.data in GIVEN:
        raise UsageError(f"{folder} was trained on {run.data} that it does not hold. Give the data to evaluate on.")
    dataset = load_data(run)
    tally = Tally.of(network.targets, dataset.outputs, run.network.loss, run.metrics)
    try:
        for x, y in dataset.test_batches(network.BATCH, 0):
            known = network.targets.encode(dataset.targets.restored(x), dataset.outputs) if _is_text(network) else x
            network.tally(tally, known, dataset.targets.restored(y))
    except UsageError as error:
        raise UsageError(f"{dataset.name} cannot be evaluated on: {error}") from None
    return Evaluated(**asdict(tally.score), samples=tally.samples)
