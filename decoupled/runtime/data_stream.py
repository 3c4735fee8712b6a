"""The data stream: numbers what the feed gives, and knows what of it is still to come back as an evaluation. Pure."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from decoupled.runtime.feed import Feed, Item
from decoupled.telemetry.ranges import Ranges


@dataclass(slots=True)
class Cursor:
    """What has been fed: how far into the feed, under which numbers, and how many samples each of them had."""

    position: int = 0  # items taken from the feed
    number: int = 0  # the next microbatch's; greater than `position` by the evaluations that were fed again
    updates: int = 0  # minibatches to train on
    trained: Ranges = field(default_factory=Ranges)  # numbers to train on
    usual: int = 0  # samples of a microbatch
    odd: dict[int, int] = field(default_factory=dict)  # samples of those that have another number of them
    to_train_on: int = 0  # samples

    def note(self, item: Item) -> None:
        """A microbatch to train on is fed."""
        number, samples = item.microbatch, len(item.x)
        self.updates += item.ends_minibatch
        self.to_train_on += samples
        self.trained.add(number)
        self.usual = self.usual or samples
        if samples != self.usual:
            self.odd[number] = samples

    def samples(self, numbers: Ranges) -> int:
        """How many samples these microbatches have."""
        differences = sum(size - self.usual for number, size in self.odd.items() if number in numbers)
        return len(numbers) * self.usual + differences

    def copy(self) -> "Cursor":
        return replace(self, trained=Ranges(self.trained), odd=dict(self.odd))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        plain = {name: getattr(self, name) for name in ("position", "number", "updates", "usual", "to_train_on")}
        return plain | {"trained": [list(both) for both in self.trained], "odd": [list(both) for both in self.odd.items()]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Cursor":
        """Raises TypeError or ValueError when these are not what `to_json` gave."""
        trained = Ranges((first, last) for first, last in values["trained"])
        return cls(**values | {"trained": trained, "odd": dict(values["odd"])})


class DataStream:
    """Gives the items of a feed one by one, evaluations again where they were lost."""

    def __init__(self, feed: Feed, fed: Cursor | None = None) -> None:
        """Goes on behind what has been `fed` before."""
        self.fed = fed.copy() if fed is not None else Cursor()
        self._stream = feed.items(self.fed.position)
        self._next = next(self._stream, None)
        self._evaluated: dict[int, Item] = {}  # fed, and not back yet
        self._again: deque[Item] = deque()
        self._has_ended_minibatch = False  # with the last item fed

    @property
    def is_between_minibatches(self) -> bool:
        """The last item fed ended one, and no evaluation is to be fed again: here the feed can be taken up anew."""
        return self._has_ended_minibatch and not self._again

    @property
    def is_idle(self) -> bool:
        """There is nothing to feed at the moment."""
        return self._next is None and not self._again

    @property
    def exhausted(self) -> bool:
        """All has been fed, and every evaluation is back."""
        return self.is_idle and not self._evaluated

    def take(self) -> Item | None:
        """The next item under its number; None when there is none at the moment."""
        if self._again:
            item = self._again.popleft()
        elif self._next is not None:
            item, self._next = self._next, next(self._stream, None)
            self.fed.position += 1
        else:
            return None
        item = replace(item, microbatch=self.fed.number)
        self.fed.number += 1
        if item.training:
            self.fed.note(item)
        else:
            self._evaluated[item.microbatch] = item
        self._has_ended_minibatch = item.training and item.ends_minibatch
        return item

    def awaited(self, number: int) -> Item | None:
        """What is being evaluated by that number, or None when nobody waits for it."""
        return self._evaluated.get(number)

    def evaluated(self, number: int) -> Item | None:
        """An evaluation is back; gives what was evaluated, or None when nobody waits for it."""
        return self._evaluated.pop(number, None)

    def owes(self, number: int) -> bool:
        """Whether an evaluation up to that number has not come back."""
        return any(m <= number for m in self._evaluated)

    def passed(self, number: int) -> None:
        """Everything up to that number has come out at the end or is lost: lost evaluations are fed again."""
        for lost in [m for m in self._evaluated if m <= number]:
            self._again.append(self._evaluated.pop(lost))
