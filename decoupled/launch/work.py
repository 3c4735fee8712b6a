"""Working: one worker process from its start to its end, however it was started."""

import uuid
from collections.abc import Callable

from decoupled.errors import DecoupledError, RunFailed
from decoupled.runtime.worker import Worker
from decoupled.transport.address import listening
from decoupled.transport.zeromq import ZeroMQ


def work(coordinator: str, host: str, insecure: bool, wait_s: float, say: Callable[[str], None]) -> None:
    """Joins the coordinator at that address and works until the run is over.

    The worker listens on `host`, or beside the coordinator's socket file when that is one. Raises RunFailed when it was
    refused or has no stage after `wait_s` (0: waits for ever), when the coordinator has gone, or when it cannot go on.
    """
    name = f"worker-{uuid.uuid4().hex[:12]}"
    is_file = coordinator.startswith("ipc://")
    inbox = f"{coordinator}-{name}" if is_file else listening(f"tcp://{host}:*", insecure)
    transport = ZeroMQ()
    worker = Worker(transport, say=say)
    try:
        worker.join(coordinator, inbox, name)
        say(f"waiting for the coordinator at {coordinator}")
        worker.run(wait_s)
    except DecoupledError:
        raise
    except Exception as error:
        worker.fail(error)
        raise RunFailed(f"This worker cannot go on: {type(error).__name__}: {error}") from error
    finally:
        transport.close()
