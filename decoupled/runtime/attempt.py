"""An attempt: one try at a run, from a checkpoint or from the beginning. A rollback ends it and begins another."""

import secrets
from collections.abc import Callable

from decoupled.checkpoint import Checkpoint
from decoupled.errors import RunFailed
from decoupled.nn.network import Network
from decoupled.runtime import feed
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.feeder import Fed, Feeder
from decoupled.runtime.keeper import Keeper, Standing
from decoupled.runtime.parcels import Parcel
from decoupled.runtime.performer import TRAINED
from decoupled.runtime.report import Report, conclude
from decoupled.runtime.source import Source
from decoupled.telemetry.board import Board
from decoupled.telemetry.evaluations import Evaluations
from decoupled.telemetry.ranges import Ranges
from decoupled.transport.interface import Transport
from decoupled.wire.messages import MALFORMED, Message


class Attempt:
    """What is fed, who is ready, and what has come of it. Its messages carry its id, so none of another is taken for its own."""

    def __init__(
        self,
        blueprint: Blueprint,
        keeper: Keeper,
        board: Board,
        transport: Transport,
        clock: Callable[[], float],
        checkpoint: Checkpoint | None,
    ) -> None:
        """Raises UsageError when the checkpoint does not say how the run stood."""
        run, dataset = blueprint.run, blueprint.dataset
        standing = Standing.of(checkpoint) if checkpoint is not None else Standing(Fed())
        stream = feed.stream(dataset, run.batch, run.epochs, run.seed, run.runtime.evaluate_every, run.microbatches or 1)
        self.run_id, self.checkpoint = secrets.token_hex(8), checkpoint
        self.source = Source(self.run_id, Feeder(stream, standing.fed), keeper, transport, clock)
        self.ready: set[int] = set()  # stages that have found their neighbours
        self.results = [Parcel() for _ in blueprint.stages]
        board.evaluations = Evaluations(len(dataset.x_test), standing.evaluations)
        keeper.begin(clock(), standing.fed.number - 1)

    @property
    def is_done(self) -> bool:
        """Every stage has trained on all there was, and its arrays are here."""
        return all(result.is_whole for result in self.results)

    def take_result(self, stage: int, message: Message) -> None:
        """A piece of what a stage's training came to. Raises TypeError or ValueError when it cannot be that."""
        if not self.source.feeder.exhausted:
            raise ValueError("a result before the end")
        self.results[stage].add(message)

    def report(self, blueprint: Blueprint, board: Board) -> Report:
        """What the finished run came to. Raises RunFailed when it is not what was to be trained."""
        arrays = {name: array for result in self.results for name, array in result.arrays.items() if name != TRAINED}
        try:
            trained = [Ranges.from_array(result.arrays[TRAINED]) for result in self.results]
            network = Network(blueprint.architecture, arrays)
        except MALFORMED as error:
            raise RunFailed(f"The workers' results do not make the network that was to be trained: {error!r:.200}.") from error
        return conclude(blueprint.run, board, network, self.source.feeder.fed, trained)
