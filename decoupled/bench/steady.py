"""The steady rate: samples per second once the pipeline is full, without warm-up and without evaluations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from decoupled.telemetry.spans import KINDS, Rows


def samples_per_s(stages: Sequence[Rows], sizes: Sequence[int], windows: int, warm_up: int) -> float | None:
    """Over the updates that every stage made, cut into `windows` stretches of equal number between evaluations.

    `sizes` are the samples of each update. A stretch begins when the last stage to do so has made its `warm_up`-th update
    in it (or half of the stretch's), and ends with the last update of the last stage to finish. None when the stages made
    different numbers of updates, or fewer than there should be.
    """
    ends = [_update_ends(rows) for rows in stages]
    if any(len(end) != len(sizes) for end in ends) or not sizes:
        return None
    samples, nanoseconds = 0, 0
    for window in np.array_split(np.arange(len(sizes)), windows):
        first = window[0] + min(warm_up, len(window) // 2)  # the first that counts
        if first == window[0] or first > window[-1]:
            continue
        samples += sum(sizes[i] for i in range(first, window[-1] + 1))
        nanoseconds += max(end[window[-1]] for end in ends) - max(end[first - 1] for end in ends)
    return samples / nanoseconds * 1e9 if nanoseconds else None


def own_rate(rows: Rows, samples: int, warm_up: int) -> float | None:
    """One stage's samples/s by its own clock, which with dropped outputs differs from the others'; None for few updates."""
    ends = _update_ends(rows)
    if len(ends) <= warm_up:
        return None
    return float(samples / len(ends) * (len(ends) - warm_up) / (ends[-1] - ends[warm_up - 1]) * 1e9)


def _update_ends(rows: Rows) -> NDArray[np.int64]:
    return np.sort(rows[rows[:, 0] == KINDS.index("update"), 3])
