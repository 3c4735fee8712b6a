"""An attempt: one try at a run, from a checkpoint or from the beginning. A rollback ends it and begins another."""

import secrets
from collections.abc import Callable

from decoupled.errors import RunFailed
from decoupled.runtime.checkpoints import CheckpointCoordinator, RunState
from decoupled.runtime.chunks import Chunks
from decoupled.runtime.data_stream import Cursor, DataStream
from decoupled.runtime.executor import TRAINED
from decoupled.runtime.feed_link import FeedLink
from decoupled.runtime.report import Report, conclude
from decoupled.runtime.resolve import ResolvedRun
from decoupled.telemetry.evaluations import Evaluations
from decoupled.telemetry.metrics import RunMetrics
from decoupled.telemetry.ranges import Ranges
from decoupled.transport.interface import Transport
from decoupled.wire.messages import MALFORMED, Message


class Attempt:
    """What is fed, and what has come of it. Its messages carry its id, so none of another is taken for its own."""

    def __init__(
        self,
        resolved: ResolvedRun,
        checkpoints: CheckpointCoordinator,
        metrics: RunMetrics,
        transport: Transport,
        clock: Callable[[], float],
        state: RunState | None,
    ) -> None:
        """Goes on from how the run stood at a checkpoint; None: from the beginning."""
        state = state or RunState(Cursor())
        self.attempt_id = secrets.token_hex(8)
        stream, gives = DataStream(resolved.feed, state.fed), resolved.inputs + resolved.targets
        self.feed_link = FeedLink(self.attempt_id, stream, checkpoints, transport, clock, gives)
        self.results = [Chunks() for _ in resolved.stages]
        metrics.evaluations = Evaluations(resolved.dataset.test_samples, state.evaluations, resolved.tally)
        checkpoints.begin(clock(), state.fed.number - 1)

    @property
    def is_done(self) -> bool:
        """Every stage has trained on all there was, and its arrays are here."""
        return all(result.is_whole for result in self.results)

    def take_result(self, stage: int, message: Message) -> None:
        """A piece of what a stage's training came to. Raises TypeError or ValueError when it cannot be that."""
        if not self.feed_link.stream.exhausted:
            raise ValueError("a result before the end")
        self.results[stage].add(message)

    def report(self, resolved: ResolvedRun, metrics: RunMetrics) -> Report:
        """What the finished run came to. Raises RunFailed when it is not what was to be trained."""
        arrays = {name: array for result in self.results for name, array in result.arrays.items() if name != TRAINED}
        try:
            trained = [Ranges.from_array(result.arrays[TRAINED]) for result in self.results]
            network = resolved.model.trained(arrays, resolved.dataset.targets)
        except MALFORMED as error:
            raise RunFailed(f"The workers' results do not make the network that was to be trained: {error!r:.200}.") from error
        return conclude(resolved.run, metrics, network, self.feed_link.stream.fed, trained)
