"""Workers by hand: they come to where the coordinator listens, and it is others who start, watch and end them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decoupled.launch.interface import Ended, Launcher
from decoupled.runtime.membership import WorkerInfo
from decoupled.transport.keys import Keys, of_coordinator


@dataclass(frozen=True, slots=True)
class Meeting:
    """Workers that come to an address; with keys, only known ones get in."""

    address: str
    keys: Keys | None
    are_kept: bool
    are_started_here = False

    def __enter__(self) -> "Meeting":
        return self

    def __exit__(self, *how: object) -> None:
        """They end, or not, as the coordinator has told them."""

    def start(self, coordinator: str, count: int) -> None:
        """The display says where they are awaited."""

    def kill(self, worker: WorkerInfo) -> None:
        """It is told to stop, and does when it can."""

    def take_ended(self) -> Sequence[Ended]:
        return ()


def by_hand(address: str, keys: str | Path | None = None, keep: bool = False) -> Launcher:
    """Workers that come to the address; with `keys`, the coordinator's folder of them, only known ones.

    With `keep` they then wait there for another run. Raises UsageError when the folder does not hold the keys.
    """
    meeting = Meeting(address, of_coordinator(Path(keys)) if keys is not None else None, keep)
    return lambda count, threads, code: meeting
