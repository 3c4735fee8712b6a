"""Sampling: a text goes on, one token at a time, as a network foretells it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from decoupled.tensors import Array


def continued(
    outputs: Callable[[Array], Array], tokens: Sequence[int], context: int, temperature: float, seed: int
) -> Iterator[int]:
    """The tokens that follow the given ones, without end.

    `outputs` maps windows (1 x context) to logits (1 x context x vocabulary), of which each position sees none behind it, so
    a window that is not full yet ends with any tokens. A temperature of 0 always takes the likeliest token; the higher it is,
    the more evenly all are drawn.
    """
    rng, seen = np.random.default_rng(seed), list(tokens)
    while True:
        window = np.zeros((1, context), np.int64)
        recent = seen[-context:]
        window[0, : len(recent)] = recent
        seen.append(_drawn(outputs(window)[0, len(recent) - 1].astype(np.float64), temperature, rng))
        yield seen[-1]


def _drawn(logits: Array, temperature: float, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    shares = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(shares), p=shares / shares.sum()))
