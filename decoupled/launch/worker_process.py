"""One worker process from its start to its end, however it was started."""

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable

from decoupled.errors import DecoupledError, RunFailed, UsageError
from decoupled.runtime.executor import COORDINATOR, DOWNSTREAM
from decoupled.runtime.worker import Worker
from decoupled.transport.address import is_loopback, is_wildcard, listening
from decoupled.transport.keys import Keys
from decoupled.transport.zeromq import ZeroMQ

REJOIN_S = 0.3  # before a kept worker looks for the next coordinator, where it may find the last one once more
LOG = logging.getLogger(__name__)


def end_with_stdin() -> None:
    """Ends this process as soon as its standard input ends, which it does with the owner of the pipe, however that ends.

    It holds at every moment, also before the worker has found its coordinator.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def work(coordinator: str, host: str, insecure: bool, keys: Keys | None, say: Callable[[str], None]) -> None:
    """Joins the coordinator at that address and works until the run is over, and in the next one if it is kept for that.

    The worker listens on `host`, or beside the coordinator's socket file when that is one. Raises RunFailed when it was
    refused, when the coordinator has gone or has another key, or when the stage cannot go on.
    """
    is_kept = _take_part(coordinator, host, insecure, keys, say, is_kept=False)
    while is_kept:
        time.sleep(REJOIN_S)
        is_kept = _take_part(coordinator, host, insecure, keys, say, is_kept=True)


def _take_part(coordinator: str, host: str, insecure: bool, keys: Keys | None, say: Callable[[str], None], is_kept: bool) -> bool:
    """Works in one run, and says whether this worker is kept for another."""
    name = f"worker-{uuid.uuid4().hex[:12]}"
    inbox = inbox_of(name, coordinator, host, insecure, keys is not None)
    transport = ZeroMQ(keys=keys, log=LOG.warning, own=(COORDINATOR, DOWNSTREAM))
    worker = Worker(transport, say=say, is_kept=is_kept)
    try:
        worker.join(coordinator, inbox, name, keys.known[0] if keys is not None else "")
        say(f"waiting for the {'next ' if is_kept else ''}coordinator at {coordinator}")
        worker.run()
        return worker.is_kept
    except DecoupledError as error:
        if not worker.is_dismissed:
            worker.fail(error)
        raise
    except Exception as error:
        worker.fail(error)
        raise RunFailed(f"This worker cannot go on: {type(error).__name__}: {error}") from error
    finally:
        transport.close()


def inbox_of(name: str, coordinator: str, host: str, insecure: bool, has_keys: bool) -> str:
    """Where the worker `name` of that coordinator listens. Raises UsageError where it may not, or could not be reached."""
    if coordinator.startswith("ipc://"):
        return f"{coordinator}-{name[-4:]}"
    return listening(_beside(coordinator, host), insecure, has_keys)


def _beside(coordinator: str, host: str) -> str:
    """Where to listen, so that the worker before this one can come: what is told to it is this very address."""
    address = f"tcp://{host}:*"
    if is_wildcard(address):
        raise UsageError(
            f"--host {host} is no address that others can reach. Give this host's own on the network of the workers."
        )
    if is_loopback(address) and not is_loopback(coordinator):
        raise UsageError(
            f"The coordinator {coordinator} is on another host, which cannot reach {host}. Give this host's address as --host."
        )
    return address
