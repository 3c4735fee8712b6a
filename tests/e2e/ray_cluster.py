"""A real Ray cluster of two nodes, in two network namespaces of this machine that a cable connects."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.conftest import until
from tests.e2e.commands import environment

RAY = Path(sys.executable).with_name("ray")
SMALL_NODE = ["--num-cpus", "2", "--object-store-memory", "80000000", "--disable-usage-stats"]


@dataclass(frozen=True, slots=True)
class Node:
    """One of the two: its name, which is that of its namespace and its host name, and its address."""

    name: str
    ip: str

    @property
    def here(self) -> list[str]:
        """The command that runs another on this node."""
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", f'hostname {self.name}; exec "$@"', "sh"]

    def workers(self) -> list[psutil.Process]:
        """The workers that Ray runs on this node."""
        found = []
        for pid in _pids(self.name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                found += [process] if "DecoupledWorker" in " ".join(process.cmdline()) else []
        return found

    def bytes_on_the_cable(self) -> int:
        """What has gone over it to this node and from it."""
        counters = subprocess.check_output([*self.here, "cat", "/proc/net/dev"], text=True)
        line = next(line for line in counters.splitlines() if f"{self.name}:" in line).split(":")[1].split()
        return int(line[0]) + int(line[8])


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two nodes; commands are run on the first."""

    head: Node
    other: Node

    @property
    def options(self) -> list[str]:
        return ["--launcher", "ray", "--ray-address", f"{self.head.ip}:6379"]

    def workers(self) -> list[psutil.Process]:
        return [*self.head.workers(), *self.other.workers()]


def why_not() -> str:
    """Why there can be no such cluster here; "" when there can."""
    if importlib.util.find_spec("ray") is None or not RAY.exists():
        return "Ray is not installed"
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return "only root makes network namespaces, with ip and unshare"
    probe = f"dp{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "the system makes no network namespaces"
    _run("ip", "netns", "del", probe)
    return ""


@contextlib.contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """A context in which the cluster runs; afterwards none of its processes, namespaces and files is left."""
    number = os.getpid()
    network = f"10.{64 + number // 256 % 64}.{number % 256}"  # another one for each process that runs tests
    head, other = Node(f"da{number}", f"{network}.1"), Node(f"db{number}", f"{network}.2")
    as_head = ["--head", "--include-dashboard", "false"]
    folder = tempfile.mkdtemp(prefix="ray-")  # a short name, for socket files
    try:
        _connect(head, other)
        _run(*head.here, RAY, "start", *as_head, "--node-ip-address", head.ip, "--temp-dir", folder, *SMALL_NODE)
        _run(*other.here, RAY, "start", "--address", f"{head.ip}:6379", "--node-ip-address", other.ip, *SMALL_NODE)
        yield Cluster(head, other)
    finally:
        for node in (head, other):
            until(f"all on {node.name} to be killed", lambda node=node: not _killed(node.name))
            subprocess.run(["ip", "netns", "del", node.name], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _connect(head: Node, other: Node) -> None:
    for node in (head, other):
        _run("ip", "netns", "add", node.name)
    cable = ["name", head.name, "netns", head.name, "type", "veth", "peer", "name", other.name, "netns", other.name]
    _run("ip", "link", "add", *cable)
    for node in (head, other):
        _run("ip", "-n", node.name, "address", "add", f"{node.ip}/24", "dev", node.name)
        _run("ip", "-n", node.name, "link", "set", node.name, "up")
        _run("ip", "-n", node.name, "link", "set", "lo", "up")


def _run(*command: str | Path) -> None:
    settings = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _pids(namespace: str) -> list[int]:
    said = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in said.split()]


def _killed(namespace: str) -> list[int]:
    """The processes in a namespace that had to be killed."""
    pids = _pids(namespace)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids
