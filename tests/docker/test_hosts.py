"""The lines of docs/distributed.md for plain hosts over ssh, as they are written there."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import until
from tests.docker.compose import IMAGE, ROOT
from tests.docker.hosts import Hosts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SECTION = (ROOT / "docs" / "distributed.md").read_text().split("## Plain hosts over ssh")[1].split("\n## ")[0]
LINES = [line for block in SECTION.split("```sh\n")[1:] for line in block.split("```")[0].splitlines()]


def written(*parts: str) -> str:
    """The line of the document that has all these parts."""
    (found,) = [line for line in LINES if all(part in line for part in parts)]
    return found


ATTACHED, DETACHED, FAR_END = written("ssh -tt", "worker"), written("setsid", "worker"), written("xargs kill")
COORDINATOR, PAGE = written("decoupled coordinator"), written("ssh -N -L")
WHEEL = written("pip wheel")
BEFORE = [line for line in LINES if line not in (ATTACHED, DETACHED, FAR_END, COORDINATOR, PAGE, WHEEL)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Hosts on which the document's preparations were made, of which nothing is left at the end."""
    build = ["docker", "build", "--quiet", "--network", "host", "--tag", "decoupled-hosts", "--build-arg", f"IMAGE={IMAGE}", "-"]
    recipe = (ROOT / "tests" / "docker" / "hosts.Dockerfile").read_text()
    made = subprocess.run(build, input=recipe, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    wheels = tmp_path_factory.mktemp("built") / "wheels"
    three = Hosts(f"decoupled-hosts-{os.getpid()}", made.stdout.strip())
    try:
        pip, *words = shlex.split(WHEEL.replace("--wheel-dir wheels", f"--wheel-dir {wheels}"))
        subprocess.run([sys.executable, "-m", pip, *words], cwd=ROOT, timeout=120, check=True)
        three.put(wheels, "wheels")
        three.says("pip install --quiet wheels/*.whl", seconds=120)  # the first host is where the checkout's environment is
        for line in BEFORE:
            three.says(line, seconds=120)
        yield three
    finally:
        three.clear()


@pytest.fixture
def hosts(prepared: Hosts) -> Iterator[Hosts]:
    """The same, with no terminal left open at the end."""
    yield prepared
    prepared.hang_up()


def test_every_line_of_the_recipe_is_tried() -> None:
    assert len(BEFORE) == 7
    assert {line.split()[0] for line in BEFORE} == {"scp", "ssh", "decoupled"}


def test_the_recipe_trains_and_a_killed_worker_is_back(hosts: Hosts) -> None:
    attached = [hosts.type(ATTACHED) for _ in range(2)]
    for _ in range(2):
        hosts.says(DETACHED)
    coordinator = hosts.type(COORDINATOR)
    hosts.type(PAGE, "10.0.0.2")

    def log() -> str:
        return hosts.says("cat runs/hosts/metrics.jsonl 2>/dev/null || true")

    def shown() -> str:
        look = "import urllib.request as web; print(web.urlopen('http://127.0.0.1:8080/healthz').read().decode())"
        return hosts.says(f'venv/bin/python -c "{look}" 2>/dev/null || true', "10.0.0.2")

    until("training", log, 120.0, every_s=0.2)
    assert shown().strip() == "training"
    for host in ("10.0.0.2", "10.0.0.3"):
        hosts.says(f"kill -9 {hosts.processes(host)[0]}", host)

    said, _ = coordinator.communicate(timeout=200)
    assert coordinator.returncode == 0, said
    assert said.count(" lost: the link to process") == said.count(" rejoined: generation 1") == 2
    assert "test accuracy" in said
    assert [one.wait(timeout=20) for one in attached] == [0, 0]
    until("the others to end", lambda: not hosts.processes("10.0.0.3"), 20.0, every_s=0.2)
    assert not hosts.loops("10.0.0.3")


def test_workers_end_when_they_are_told_to(hosts: Hosts) -> None:
    def waiting(host: str, count: int) -> None:
        until(f"{count} workers", lambda: len(hosts.processes(host)) == count, 60.0, every_s=0.2)

    interrupted, closed = hosts.type(ATTACHED), hosts.type(ATTACHED)
    hosts.says(DETACHED)
    hosts.says(DETACHED)
    for typed in (interrupted, closed):
        assert typed.stdout is not None
        assert "waiting for the coordinator" in typed.stdout.readline()
    waiting("10.0.0.2", 2)
    waiting("10.0.0.3", 2)

    assert interrupted.stdin is not None
    interrupted.stdin.write("\x03")
    interrupted.stdin.flush()
    assert interrupted.wait(timeout=20) == 130
    waiting("10.0.0.2", 1)

    hosts.says("pkill -KILL -x ssh")  # the terminal's window was closed
    closed.wait(timeout=20)
    waiting("10.0.0.2", 0)

    hosts.says(FAR_END)
    waiting("10.0.0.3", 0)
    assert not hosts.loops("10.0.0.3")
