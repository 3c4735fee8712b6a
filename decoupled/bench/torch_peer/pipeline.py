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
from decoupled.bench.torch_peer.network import HOST, Optimiser, in_torch, model_of, network
from decoupled.data.source import Batch
from decoupled.errors import RunFailed
from decoupled.launch.plan import worker_environment
from decoupled.pytorch.arrays import to_tensor
from decoupled.pytorch.losses import summed
from decoupled.runtime.resolve import ResolvedRun
from decoupled.user_code import allow_all

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
    allow_all(job.run.code)
    resolved = in_torch(job, load_data(job.run))
    layers, loss = job.stages[stage], model_of(resolved).loss
    model = network(resolved, layers)
    kind = pipelining.ScheduleGPipe if job.kind == "gpipe" else pipelining.Schedule1F1B
    place = pipelining.PipelineStage(model, stage, job.workers, HOST, *_shapes(job, resolved, layers))
    schedule = kind(place, job.microbatches, lambda outputs, y: summed(loss, outputs, y) / len(y))
    optimiser = Optimiser(job, resolved, model)

    def learn(batch: Batch) -> None:
        x, y = batch
        inputs = (to_tensor(x, HOST),) if place.is_first else ()
        targets = {"target": to_tensor(y, HOST)} if place.is_last else {}
        schedule.step(*inputs, **targets, return_outputs=False)
        optimiser.step()

    return drive(job, resolved, learn, evaluate=None)


def _shapes(job: Job, resolved: ResolvedRun, layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A microbatch of the stage's inputs and one of its outputs, so that the stages need not exchange their shapes."""
    rows, model = job.run.batch // job.microbatches, model_of(resolved)
    x, outputs = (to_tensor(model.flow(layer).zeros(rows)[0], HOST) for layer in (layers[0], layers[-1] + 1))
    return x.requires_grad_(layers[0] > 0), outputs.requires_grad_()
