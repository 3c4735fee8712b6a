"""`docker-compose up` as a user sees it: it trains, it is watched, it survives, it compares, and it keeps to itself."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import until
from tests.docker.compose import Demo, comparison

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def happened(history: Any, what: str) -> list[int]:
    """The stages of which the page tells that."""
    return [event["stage"] for event in history["events"] if event["what"] == what]


def test_it_goes_on_whatever_is_done_to_its_containers(demo: Callable[..., Demo]) -> None:
    four = demo(EPOCHS="500")
    four.compose("up", "--detach")
    training = four.until_page("dni to train", lambda history: bool(history["now"]) and history["now"]["samples"] > 0)
    assert training["run"]["schedule"] == "dni"
    assert [worker["stage"] for worker in training["now"]["workers"]] == [0, 1, 2, 3]

    # A worker is killed and taken away; training goes on without it until another is added.
    lost = four.containers("worker")[1]
    four.docker("rm", "--force", lost)
    without = four.until_page("the loss to be known", lambda history: happened(history, "lost"))
    four.compose("up", "--detach", "--no-recreate", "--scale", "worker=4")
    added = four.until_page("another to take the stage", lambda history: happened(history, "rejoined"))
    assert happened(added, "lost") == happened(without, "lost") == happened(added, "rejoined")
    four.until_page("training to go on", lambda history: history["now"]["samples"] > added["now"]["samples"])

    # One whose process dies is started again by the engine.
    died = next(one for one in four.containers("worker") if four.inspect(one, ".State.Running") == "true")
    os.kill(int(four.inspect(died, ".State.Pid")), signal.SIGKILL)
    four.until_page("it to be back", lambda history: len(happened(history, "rejoined")) == 2)
    assert four.inspect(died, ".RestartCount") == "1"

    # So is the coordinator, which goes on with its run.
    four.until_page("a checkpoint", lambda history: history["now"]["checkpoint"] is not None)
    os.kill(int(four.inspect(four.containers("coordinator")[0], ".State.Pid")), signal.SIGKILL)
    four.until_page("it to be resumed", lambda history: happened(history, "resumed"))

    # One is cut off for longer than links may be silent, in the run whose stages must all go back then.
    four.until_page("lockstep to train", lambda history: history["run"].get("schedule") == "lockstep" and history["now"])
    cut, network = four.containers("worker")[0], f"{four.name}_layers"
    four.docker("network", "disconnect", network, cut)
    four.until_page("the cut to be known", lambda history: happened(history, "lost"))
    four.docker("network", "connect", network, cut)
    four.until_page("all to go back", lambda history: happened(history, "rolled back"))

    # And a coordinator that was told to end leaves workers that the engine starts again, for the run is not over.
    four.until_page("a checkpoint of its own", lambda history: history["now"]["checkpoint"] is not None)
    four.compose("restart", "coordinator")
    four.until_page("lockstep to be resumed", lambda history: happened(history, "resumed"))

    coordinator = four.containers("coordinator")[0]
    until("the end", lambda: four.inspect(coordinator, ".State.Status") == "exited", 200.0)
    assert four.inspect(coordinator, ".State.ExitCode") == "0"
    found = comparison(four.docker("logs", coordinator))
    assert set(found) == {"dni", "lockstep"}
    assert min(accuracy for _, accuracy in found.values()) > 95


def test_containers_have_no_rights_and_keep_to_themselves(demo: Callable[..., Demo]) -> None:
    private = demo(EPOCHS="100000")
    private.compose("up", "--detach")
    private.until_page("training", lambda history: bool(history["now"]) and history["now"]["samples"] > 0)
    coordinator, worker = private.containers("coordinator")[0], private.containers("worker")[0]

    def refused(container: str, command: str) -> bool:
        return private.docker("exec", container, "sh", "-c", f"{command} >/dev/null 2>&1 || echo refused") == "refused"

    for container in (coordinator, worker):
        assert private.docker("exec", container, "id", "-u") == "10001"
        assert refused(container, "touch /work/file")
        assert private.docker("exec", container, "grep", "CapEff", "/proc/self/status").split() == ["CapEff:", "0" * 16]
        assert not refused(container, "ls /keys")
        until("health", lambda one=container: private.inspect(one, ".State.Health.Status") == "healthy", 40.0)
    assert private.docker("exec", worker, "find", "/keys", "-name", "*secret") == "/keys/worker/worker-0.key_secret"
    assert refused(worker, "python -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 3)'")
    assert private.compose("port", "coordinator", "8080").startswith("127.0.0.1:")
    words = "decoupled doctor --join tcp://coordinator:5555 --host $HOSTNAME --keys /keys/worker --json /tmp/findings"
    found = private.docker("exec", worker, "sh", "-c", f"{words} >/dev/null; cat /tmp/findings")
    states = {finding["title"]: finding["state"] for finding in json.loads(found)["findings"]}
    assert "fail" not in states.values(), found
    assert {states[title] for title in ("address", "inbox", "coordinator", "versions there", "clocks", "workers")} == {"ok"}
    stranger = private.compose(
        "run", "--rm", "--no-deps", "-T", "worker", "sh", "-c",
        "decoupled keys make /tmp/other --workers 1 >/dev/null;"
        " timeout 5 decoupled worker --join tcp://coordinator:5555 --host $HOSTNAME --keys /tmp/other/worker-0 2>&1 || true",
    )  # fmt: skip
    assert "Has it another key than is expected of it" in stranger
