"""The choice of a side's settings, by several short tries of each in turn: one try may meet a moment when the machine is busy."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from decoupled.bench.trial import Spread
from decoupled.errors import RunFailed

ROUNDS, ROUNDS_OF_ALL = 3, 2  # after the first two, only the settings that may still be the fastest are tried again


@dataclass(frozen=True, slots=True)
class Choice:
    """What the tries of a side's settings came to; more is better."""

    side: str
    tries: dict[str, list[float]]  # by the name of the settings; not empty
    measure: str = "samples_per_s"
    takes_first: bool = False  # of those that may be the best, because each further one has a price of its own

    @property
    def best(self) -> str:
        """The settings that are chosen."""
        return next(name for name in self.tries if name in (self.highest, *self.rivals)) if self.takes_first else self.highest

    @property
    def highest(self) -> str:
        """The settings with the highest median."""
        return max(self.tries, key=lambda name: Spread.of(self.tries[name]).median)

    @property
    def rivals(self) -> list[str]:
        """The settings that may be as fast: their fastest try is faster than the slowest of those with the highest median."""
        slowest = min(self.tries[self.highest])
        return [name for name, rates in self.tries.items() if name != self.highest and max(rates) > slowest]

    @property
    def note(self) -> str:
        """What a reader of the figures must know of the choice, by samples/s."""
        tried = "; ".join(f"{name} {_words(rates)}" for name, rates in self.tries.items())
        why = "the first that may be the fastest in" if self.takes_first else "the fastest of"
        said = f"{self.side} runs with {self.best}, {why} several tries (samples/s, median and range: {tried})."
        if self.rivals and not self.takes_first:
            said += f" The tries vary by more than the settings differ, so {' or '.join(self.rivals)} may be as fast."
        return said

    def to_json(self) -> dict[str, Any]:
        tried = {name: asdict(Spread.of(rates)) | {"tries": rates} for name, rates in self.tries.items()}
        return {"chosen": self.best, "is_sure": not self.rivals, self.measure: tried}


def choose(
    side: str,
    settings: Mapping[str, Callable[[], float]],
    on_try: Callable[[str], None],
    rounds: int = ROUNDS,
    measure: str = "samples_per_s",
) -> Choice:
    """Tries the settings, each of which gives a measure; one that fails is left out. Raises RunFailed when all of them do."""
    choice = Choice(side, {name: [] for name in settings}, measure)
    tries = choice.tries
    for number in range(rounds):
        for name in list(tries) if number < ROUNDS_OF_ALL else [choice.highest, *choice.rivals]:
            on_try(f"trying {side} with {name}")
            try:
                tries[name].append(settings[name]())
            except RunFailed:
                del tries[name]
                if not tries:
                    raise
        if number >= ROUNDS_OF_ALL - 1 and not choice.rivals:
            break
    return choice


def _words(rates: list[float]) -> str:
    spread = Spread.of(rates)
    return f"{spread.median:,.0f}, {spread.low:,.0f}-{spread.high:,.0f}"
