"""A demo of docker-compose.yml under a name of its own, driven by the command line as a user does it."""

import http.client
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import until
from tests.docker.kubelet import docker
from tests.e2e.commands import free_address

ROOT = Path(__file__).parents[2]
IMAGE = "decoupled"
COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


class Demo:
    """A project of docker-compose: what its containers do, and what its page shows."""

    def __init__(self, name: str, **settings: str) -> None:
        self.name = name
        self._page = free_address().removeprefix("tcp://")
        self._environment = {**os.environ, **settings, "PAGE": self._page, "COMPOSE_PROJECT_NAME": name}

    def compose(self, *words: str, seconds: float = 60.0) -> str:
        """What `docker-compose WORDS` prints, which must succeed."""
        return self._run(COMPOSE, *words, seconds=seconds)

    def docker(self, *words: str) -> str:
        """What `docker WORDS` prints, which must succeed."""
        return docker(*words)

    def shell(self, line: str, seconds: float) -> str:
        """What a line prints, which must succeed."""
        return self._run(["sh", "-c"], line, seconds=seconds)

    def _run(self, command: list[str], *words: str, seconds: float) -> str:
        done = subprocess.run(
            [*command, *words],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def take_down(self) -> None:
        """Takes everything away, but for one network that the engine may keep until its own restart (moby/moby#23302).

        It then says that the network has active endpoints, although no container is on it.
        """
        try:
            self.compose("down", "--volumes", "--timeout", "5")
        except AssertionError as error:
            if "has active endpoints" not in str(error):
                raise
            for volume in self._left("volume"):
                self.docker("volume", "rm", volume)
            for network in self._left("network"):
                assert self.inspect(network, "len .Containers") == "0"
                with suppress(AssertionError):
                    self.docker("network", "rm", network)
            assert len(self._left("network")) <= 1
        else:
            assert self._left("network") == []
        assert self._left("container") == self._left("volume") == []

    def _left(self, kind: str) -> list[str]:
        return self.docker(kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def inspect(self, thing: str, what: str) -> str:
        return self.docker("inspect", "--format", f"{{{{{what}}}}}", thing)

    def page(self, path: str) -> Any:
        """What the page answers there; None while it does not, as between two runs."""
        try:
            with urllib.request.urlopen(f"http://{self._page}{path}", timeout=5) as answer:
                return json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return None

    def until_page(self, what: str, holds: Callable[[Any], object]) -> Any:
        """What the page shows as soon as that holds for it."""
        found: list[Any] = []

        def there() -> bool:
            found[:] = [self.page("/api/run")]
            return bool(found[0] and holds(found[0]))

        until(what, there, 90.0, every_s=0.1)
        return found[0]


def comparison(said: str) -> dict[str, tuple[int, float]]:
    """Workers and test accuracy of each schedule in the table at the end."""
    rows = re.findall(r"\b(dni|lockstep) +(\d+) +[\d,]+ +[\d.]+ x +[\d.]+ +([\d.]+)%", said)
    return {schedule: (int(workers), float(accuracy)) for schedule, workers, accuracy in rows}
