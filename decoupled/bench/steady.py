"""The steady rate: samples per second while the pipeline is full, without filling, draining and evaluations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from decoupled.telemetry.spans import KINDS, Rows


def samples_per_s(stages: Sequence[Rows], sizes: Sequence[int], stretches: Sequence[int], margin: int) -> float | None:
    """Over the updates that every stage made, in `stretches` of so many updates with evaluations in between.

    `sizes` are the samples of each update. The first and last `margin` updates of a stretch (at most a third each) are left
    out. An update counts as made when the slowest stage has made it. None when the stages made different numbers of updates,
    or when no stretch is long enough.
    """
    ends = [_update_ends(rows) for rows in stages]
    if any(len(end) != len(sizes) for end in ends) or sum(stretches) != len(sizes):
        return None
    samples, nanoseconds, start = 0, 0, 0
    for length in stretches:
        left_out = max(min(margin, length // 3), 1)
        first, last = start + left_out, start + length - left_out  # counted are first to last - 1
        start += length
        if last > first:
            samples += sum(sizes[first:last])
            nanoseconds += max(end[last - 1] for end in ends) - max(end[first - 1] for end in ends)
    return samples / nanoseconds * 1e9 if nanoseconds else None


def own_rate(rows: Rows, samples: int, warm_up: int) -> float | None:
    """One stage's samples/s by its own clock, which with dropped outputs differs from the others'; None for few updates."""
    ends = _update_ends(rows)
    if len(ends) <= warm_up:
        return None
    return float(samples / len(ends) * (len(ends) - warm_up) / (ends[-1] - ends[warm_up - 1]) * 1e9)


def _update_ends(rows: Rows) -> NDArray[np.int64]:
    return np.sort(rows[rows[:, 0] == KINDS.index("update"), 3])
