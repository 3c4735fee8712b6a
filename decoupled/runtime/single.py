"""single: plain backprop in this process, without workers or messages. The reference for every schedule.

The whole network is one stage that is first and last. The code that trains it is the workers' own: the lockstep schedule
decides and a performer acts, with nothing in between.
"""

from collections.abc import Callable

from decoupled.nn.network import Network
from decoupled.runtime import feed
from decoupled.runtime.assignment import assign, build_schedule
from decoupled.runtime.blueprint import Blueprint
from decoupled.runtime.emulation import equip
from decoupled.runtime.feeder import Feeder
from decoupled.runtime.performer import Performer
from decoupled.runtime.process import tune
from decoupled.runtime.rehearsal import rehearse
from decoupled.runtime.report import Report, conclude
from decoupled.schedules.events import ActivationArrived
from decoupled.telemetry.board import Board, Progress
from decoupled.telemetry.clock import now_ns
from decoupled.telemetry.counters import Counters, peak_rss_mb
from decoupled.telemetry.evaluations import Part
from decoupled.telemetry.spans import Spans
from decoupled.wire.messages import Kind


def train_single(blueprint: Blueprint, on_progress: Callable[[Progress], None]) -> Report:
    """Trains the blueprint's network in this process, with the run's number of BLAS threads."""
    run, dataset = blueprint.run, blueprint.dataset
    assignment = assign(blueprint, 0)
    counters, spans = Counters(stage=0), Spans()
    schedule, performer = build_schedule(assignment), Performer(equip(assignment), assignment.place, counters)
    board = Board(blueprint.stages, run.epochs, len(dataset.x_train), len(dataset.x_test))
    feeder = Feeder(feed.stream(dataset, run.batch, run.epochs, run.seed, run.runtime.evaluate_every))

    def report(now: int) -> None:
        counters.peak_rss_mb = peak_rss_mb()
        board.report(counters, spans.take(), now)

    with tune(run.runtime.threads):
        rehearse(assignment)
        started = reported = now_ns()
        while (item := feeder.take()) is not None:
            performer.accept(item.microbatch, item.x, item.y)
            schedule.receive(ActivationArrived(item.microbatch, item.training))
            while (action := schedule.next_action()) is not None:
                begun = now_ns()
                outgoing = performer.perform(action)
                spans.add(action, begun, now_ns())
                for _, message in outgoing:
                    if message.kind is Kind.EVALUATED:
                        part = Part.from_body(message.body)
                        board.evaluations.add(part, len(item.x), item.epoch, (now_ns() - started) / 1e9)
            if now_ns() - reported >= run.runtime.report_every_s * 1e9:
                reported = now_ns()
                report(reported)
                on_progress(board.progress((reported - started) / 1e9, item.epoch, feeder.fed.to_train_on))
    report(now_ns())
    on_progress(board.progress((now_ns() - started) / 1e9, run.epochs, feeder.fed.to_train_on))
    network = Network(blueprint.architecture, performer.stage.arrays())
    return conclude(run, board, network, feeder.fed, [performer.trained])
