"""single: plain backprop in this process, without workers or messages. The reference for every schedule.

The whole network is one stage that is first and last. The code that trains it is the workers' own: the lockstep schedule
decides and an executor acts, with nothing in between.
"""

from collections.abc import Callable

import numpy as np

from decoupled.nn.recipe import seeded
from decoupled.runtime.assignment import assign, build_schedule
from decoupled.runtime.data_stream import DataStream
from decoupled.runtime.emulation import build_stage
from decoupled.runtime.executor import StageExecutor
from decoupled.runtime.process import tune
from decoupled.runtime.records import Record
from decoupled.runtime.report import Report, conclude
from decoupled.runtime.resolve import ResolvedRun
from decoupled.runtime.warmup import warm_up
from decoupled.schedules.events import ActivationArrived
from decoupled.telemetry.clock import now_ns
from decoupled.telemetry.counters import Counters, peak_rss_mb
from decoupled.telemetry.evaluations import Evaluations, Part
from decoupled.telemetry.metrics import Progress, RunMetrics
from decoupled.telemetry.spans import Spans
from decoupled.wire.messages import Kind


def train_single(resolved: ResolvedRun, on_progress: Callable[[Progress], None]) -> Report:
    """Trains the run's network in this process, with the run's number of BLAS threads."""
    run, dataset = resolved.run, resolved.dataset
    assignment = assign(resolved, 0)
    counters, spans = Counters(stage=0), Spans()
    schedule, executor = (
        build_schedule(assignment),
        StageExecutor(build_stage(assignment), assignment.place, counters, metrics=assignment.metrics),
    )
    metrics = RunMetrics(resolved.stages, run.epochs, dataset.samples, dataset.test_samples)
    metrics.evaluations = Evaluations(dataset.test_samples, tally=resolved.tally)
    stream = DataStream(resolved.feed)

    def report(now: int) -> None:
        counters.peak_rss_mb = peak_rss_mb()
        metrics.report(counters, spans.take(), now)

    quietly = np.errstate(all="ignore")  # what diverges is found by its loss
    with tune(run.runtime.threads), quietly, seeded(run.seed):
        warm_up(assignment)
        started = reported = now_ns()
        while (item := stream.take()) is not None:
            executor.records[item.microbatch] = Record((item.x,), (item.y,), item.training)
            schedule.receive(ActivationArrived(item.microbatch, item.training))
            while (action := schedule.next_action()) is not None:
                begun = now_ns()
                outgoing = executor.perform(action)
                spans.add(action, begun, now_ns())
                for _, message in outgoing:
                    if message.kind is Kind.EVALUATED:
                        part = Part.from_message(message)
                        metrics.evaluations.add(part, len(item.x), item.epoch, (now_ns() - started) / 1e9)
            if now_ns() - reported >= run.runtime.report_every_s * 1e9:
                reported = now_ns()
                report(reported)
                on_progress(metrics.progress((reported - started) / 1e9, item.epoch, stream.fed.to_train_on))
    report(now_ns())
    on_progress(metrics.progress((now_ns() - started) / 1e9, run.epochs, stream.fed.to_train_on))
    network = resolved.model.trained(executor.stage.model_state(), dataset.targets)
    return conclude(run, metrics, network, stream.fed, [executor.trained])
