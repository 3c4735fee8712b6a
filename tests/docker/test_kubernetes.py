"""The pods of docs/kubernetes, as containers: their users, rights, folders and keys are such that a run comes to its end."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoupled.transport.keys import make
from tests.conftest import until
from tests.docker.compose import IMAGE
from tests.docker.kubelet import Kubelet, docker
from tests.manifests import MANIFESTS, PODS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
UID = PODS["Job worker"]["spec"]["securityContext"]["runAsUser"]


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    """A kubelet with the Secrets of the document, of which nothing is left at the end."""
    one = Kubelet(f"decoupled-pods-{os.getpid()}", IMAGE)
    try:
        make(tmp_path / "keys", workers=1)
        for name, folder in (("coordinator-keys", "coordinator"), ("worker-keys", "worker-0")):
            one.secret(name, {path.name: path.read_text() for path in (tmp_path / "keys" / folder).iterdir()}, UID)
        yield one
    finally:
        one.clear()


def probed(pod: str, container: str) -> bool:
    """Whether the pod's own probe finds it ready."""
    command = PODS[pod]["spec"]["containers"][0]["readinessProbe"]["exec"]["command"]
    words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
    return docker("exec", container, "sh", "-c", f"{words} >/dev/null 2>&1 && echo ready || true") == "ready"


def inspected(container: str, what: str) -> str:
    return docker("inspect", "--format", f"{{{{{what}}}}}", container)


def test_the_pods_train_and_go_on_when_one_dies(kubelet: Kubelet) -> None:
    worker, service = PODS["Job worker"], MANIFESTS["Service coordinator"]["metadata"]["name"]
    workers = [kubelet.start("worker-0", worker)]  # before there is a coordinator
    coordinator = kubelet.start("coordinator", PODS["Job coordinator"], service)
    workers += [kubelet.start(f"worker-{i}", worker) for i in range(1, MANIFESTS["Job worker"]["spec"]["parallelism"])]
    until("the coordinator to be ready", lambda: probed("Job coordinator", coordinator), 60.0, every_s=0.2)
    until("training", lambda: "epoch" in docker("logs", coordinator), 60.0, every_s=0.2)
    assert all(probed("Job worker", one) for one in workers)

    for one in (workers[2], coordinator):
        os.kill(int(inspected(one, ".State.Pid")), signal.SIGKILL)
        until("it to be started again", lambda container=one: inspected(container, ".RestartCount") == "1", 30.0, every_s=0.1)

    for one in (coordinator, *workers):
        until("the end", lambda container=one: inspected(container, ".State.Status") == "exited", 120.0, every_s=0.2)
        assert inspected(one, ".State.ExitCode") == "0", docker("logs", one)
    assert "The run is in runs/first" in docker("logs", coordinator)

    runs = kubelet.start("runs", PODS["Pod runs"])
    until("the page", lambda: "http://" in docker("logs", runs), 30.0, every_s=0.2)
    report = json.loads(docker("exec", runs, "cat", "runs/first/report.json"))
    assert report["test_accuracy"] > 0.95


def test_a_secret_as_it_is_mounted_is_refused(kubelet: Kubelet) -> None:
    """Which is why a pod makes a copy of its own first."""
    pod = {"spec": {**PODS["Job worker"]["spec"], "initContainers": [], "restartPolicy": "Never"}}
    (main,) = pod["spec"]["containers"]
    mounts = [{**mount, "name": "secret"} if mount["mountPath"] == "/keys" else mount for mount in main["volumeMounts"]]
    pod["spec"]["containers"] = [{**main, "volumeMounts": mounts}]

    started = kubelet.start("bare", pod)

    assert docker("wait", started) == "2"
    assert inspected(started, ".State.ExitCode") == "2"
