"""What `run_coordinator` needs of whatever starts workers: this machine, a cluster's engine, or people by hand."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from decoupled.runtime.membership import WorkerInfo
from decoupled.transport.keys import Keys


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker process that has ended, and how."""

    host: str
    pid: int
    how: str
    is_failure: bool  # by itself, rather than by a signal


class Workers(AbstractContextManager[Any], Protocol):
    """The workers of one run. When the context is left, all that were started here have ended."""

    @property
    def address(self) -> str:
        """Where the coordinator is to listen for them."""

    @property
    def keys(self) -> Keys | None:
        """The coordinator's, if they have any."""

    @property
    def are_kept(self) -> bool:
        """Whether they are to wait for another run after this one."""

    @property
    def are_started_here(self) -> bool:
        """Whether `start` starts them itself; otherwise people do, or an engine that has its own reasons to wait."""

    def start(self, coordinator: str, count: int) -> None:
        """Starts so many workers, or none, which join the coordinator there. Raises RunFailed when that is not possible.

        An engine that replaces lost ones by itself has done so, and makes up for those that have ended.
        """

    def kill(self, worker: WorkerInfo) -> None:
        """Ends a worker that does not answer; any other process is left alone."""

    def take_ended(self) -> Sequence[Ended]:
        """The workers that have ended since the last time, which none does before it is told to."""


# Gives so many workers, of so many BLAS threads each, which may run that code of the user's; none is started yet.
Launcher: TypeAlias = Callable[[int, int, Sequence[str]], Workers]
