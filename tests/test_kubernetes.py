"""The manifests in docs/kubernetes are whole and strict, and say what the code, the Dockerfile and the document say."""

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer

from decoupled.cli import train
from decoupled.cli.commands import app
from decoupled.watch.address import ADDRESS
from tests.manifests import MANIFESTS, PODS

ROOT = Path(__file__).parents[1]
CONTAINERS = [one for pod in PODS.values() for one in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])]
WRITABLE = {"/work/runs", "/kernels", "/tmp"}


def words(container: Any) -> list[str]:
    """What a container does, as words to type: its command, or what its script comes to."""
    command: list[str] = container["command"]
    if command[0] != "sh":
        return command
    return shlex.split(command[-1].replace("\\\n", " ").replace('"$@"', "--out $RUN").splitlines()[-1])


COMMANDS = {one["name"]: words(one) for one in CONTAINERS if "decoupled" in words(one)}


def values(name: str) -> dict[str, Any]:
    """The options of the command that a container runs, as the command line itself understands them."""
    typed = COMMANDS[name][COMMANDS[name].index("decoupled") + 1 :]
    group: Any = typer.main.get_command(app)
    context = group.commands[typed[0]].make_context(typed[0], typed[1:])
    return dict(context.params)


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_every_manifest_is_strictly_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_a_manifest_with_a_wrong_word_is_not() -> None:
    wrong = MANIFESTS["Job worker"] | {"spec": MANIFESTS["Job worker"]["spec"] | {"paralellism": 4}}

    with pytest.raises(kubernetes_validate.ValidationError, match="paralellism"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_containers_run_commands_that_exist() -> None:
    assert {name: typed[typed.index("decoupled") + 1] for name, typed in COMMANDS.items()} == {
        "coordinator": train.coordinator.__name__,
        "worker": train.worker.__name__,
        "runs": "dashboard",
    }
    for name in COMMANDS:
        assert values(name)


def test_coordinator_and_workers_find_one_another() -> None:
    service, worker, coordinator = MANIFESTS["Service coordinator"], values("worker"), values("coordinator")
    port = service["spec"]["ports"][0]["port"]

    assert worker["join"] == f"tcp://{service['metadata']['name']}:{port}"
    assert coordinator["bind"] == f"tcp://0.0.0.0:{port}"
    assert (
        coordinator["workers"] == MANIFESTS["Job worker"]["spec"]["parallelism"] == MANIFESTS["Job worker"]["spec"]["completions"]
    )
    assert PODS["Job coordinator"]["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    open_to = MANIFESTS["NetworkPolicy layers"]["spec"]["podSelector"]["matchLabels"].items()
    assert all(pod["metadata"]["labels"].items() >= open_to for pod in PODS.values())
    probes = {
        name: PODS[name]["spec"]["containers"][0]["readinessProbe"]["exec"]["command"]
        for name in ("Job coordinator", "Job worker")
    }
    assert f"http://{ADDRESS}/healthz" in probes["Job coordinator"][-1]
    assert f":{port:04X} " in probes["Job worker"][2]


def test_pods_run_as_the_image_does_and_have_no_rights() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    uid = re.search(r"useradd .*--uid (\d+)", dockerfile)
    folders = re.search(r"install -d -o decoupled (.*)", dockerfile)
    assert uid is not None
    assert folders is not None

    for pod in PODS.values():
        security = pod["spec"]["securityContext"]
        assert {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {int(uid[1])}
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["spec"]["automountServiceAccountToken"]
    for one in CONTAINERS:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["requests"] == one["resources"]["limits"]
        assert one["resources"]["limits"]["cpu"].isdecimal(), "whole processors"
    places = {mount["mountPath"] for pod in PODS.values() for one in pod["spec"]["containers"] for mount in one["volumeMounts"]}
    assert places == WRITABLE | {"/keys"}
    assert places <= {*folders[1].split(), "/tmp"}


def test_the_document_makes_the_secrets_that_are_mounted() -> None:
    document = (ROOT / "docs" / "distributed.md").read_text()
    made = dict(re.findall(r"kubectl create secret generic ([\w-]+) --from-file ([\w/-]+)", document))

    mounted = {volume["secret"]["secretName"] for pod in PODS.values() for volume in pod["spec"]["volumes"] if "secret" in volume}
    assert made == {"coordinator-keys": "keys/coordinator", "worker-keys": "keys/worker-0"}
    assert mounted == set(made)
