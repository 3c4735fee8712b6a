"""gpipe and 1f1b: torch's own pipelines, a process for each stage, over gloo on loopback."""

import multiprocessing
import os
import socket
import threading
from multiprocessing import connection

import torch
from torch import Tensor

from decoupled.api import load_data
from decoupled.bench.torch_peer.job import Job, Trained, drive
from decoupled.bench.torch_peer.model import LOSS_FUNCTIONS, Inputs, Optimiser, arrays_of, dtype_of, network, targets_of
from decoupled.data.dataset import Array
from decoupled.errors import RunFailed
from decoupled.launch.plan import worker_environment
from decoupled.nn.partition import partition
from decoupled.runtime.resolve import ResolvedRun, resolve, work_of

LOOPBACK = "127.0.0.1"


def train_pipeline(job: Job) -> list[Trained]:
    """Trains in a process for each stage, all of which have ended afterwards. Raises RunFailed when one of them fails."""
    os.environ.update(worker_environment(os.environ, job.threads))
    context, store = multiprocessing.get_context("spawn"), _serve()
    receivers, processes = [], []
    try:
        for stage in range(job.workers):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, stage, store.port, sender), daemon=True)
            process.start()
            sender.close()  # the process has its own; with this one open its death would go unnoticed
            receivers.append(receiver)
            processes.append(process)
        return _collect(receivers)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _serve() -> torch.distributed.TCPStore:
    """The store by which the stages find one another, on a free port of loopback only (TCPStore by itself listens everywhere)."""
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    return torch.distributed.TCPStore(LOOPBACK, port, is_master=True, master_listen_fd=listener.detach(), wait_for_workers=False)


def _collect(receivers: list[connection.Connection]) -> list[Trained]:
    """Each stage's result, in order. Raises RunFailed as soon as one of them fails."""
    answers: dict[int, Trained] = {}
    while len(answers) < len(receivers):
        for ready in connection.wait([r for stage, r in enumerate(receivers) if stage not in answers]):
            stage = next(stage for stage, receiver in enumerate(receivers) if receiver is ready)
            try:
                answer = receivers[stage].recv()
            except EOFError:
                raise RunFailed(f"The process of stage {stage} died.") from None
            if not isinstance(answer, Trained):
                raise RunFailed(f"Stage {stage} cannot go on: {answer}")
            answers[stage] = answer
    return [answers[stage] for stage in range(len(receivers))]


def _work(job: Job, stage: int, port: int, sender: connection.Connection) -> None:
    """One stage's process, from its start to its end."""
    _end_with_parent()
    try:
        sender.send(train_stage(job, stage, port))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """Ends this process as soon as its parent has ended, in whatever way, even while torch waits for another stage."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def train_stage(job: Job, stage: int, port: int) -> Trained:
    """Trains one stage of the pipeline in this process, together with those of the other stages."""
    from torch.distributed import pipelining  # here, because it costs a second and 75 MB that single does without

    torch.set_num_threads(job.threads)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = torch.distributed.TCPStore(LOOPBACK, port)
    torch.distributed.init_process_group("gloo", store=store, rank=stage, world_size=job.workers)
    resolved = resolve(job.run, load_data(job.run))
    layers = partition(work_of(resolved), job.workers)[stage]
    model = network(resolved, layers)
    kind = pipelining.ScheduleGPipe if job.kind == "gpipe" else pipelining.Schedule1F1B
    place = pipelining.PipelineStage(model, stage, job.workers, torch.device("cpu"), *_shapes(job, resolved, layers))
    schedule = kind(place, job.microbatches, LOSS_FUNCTIONS[resolved.architecture.loss])
    optimiser = Optimiser(job, resolved, model)
    dataset = arrays_of(resolved)
    x = Inputs(resolved, dataset.x_train) if place.is_first else None
    y = targets_of(resolved, dataset.y_train) if place.is_last else None

    def learn(rows: Array) -> None:
        inputs = () if x is None else (x[rows],)
        targets = {} if y is None else {"target": y[torch.from_numpy(rows)]}
        schedule.step(*inputs, **targets, return_outputs=False)
        optimiser.step()

    return drive(job, resolved, learn, evaluate=None)


def _shapes(job: Job, resolved: ResolvedRun, layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A microbatch of the stage's inputs and one of its outputs, so that the stages need not exchange their shapes."""
    rows, widths = job.run.batch // job.microbatches, resolved.architecture.widths
    dtype = dtype_of(resolved)
    inputs = torch.empty(rows, widths[layers[0]], dtype=dtype, requires_grad=layers[0] > 0)
    outputs = torch.empty(rows, widths[layers[-1] + 1], dtype=dtype, requires_grad=True)
    return inputs, outputs
