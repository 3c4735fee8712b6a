"""Hosts that reach one another over ssh, each a container, and lines that are typed on the first of them."""

import re
import subprocess
from pathlib import Path

from tests.docker.kubelet import docker

HOME = "/home/decoupled"


class Hosts:
    """Three hosts, which stand for 10.0.0.1 to 10.0.0.3 in what is typed; `clear` leaves nothing of them."""

    def __init__(self, name: str, image: str) -> None:
        docker("network", "create", "--internal", name)
        self._name = name
        self._typed: list[subprocess.Popen[str]] = []
        self.names = {f"10.0.0.{number}": f"{name}-{number}" for number in (1, 2, 3)}
        for one in self.names.values():
            docker("run", "--detach", "--init", "--name", one, "--network", name, image)
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self._addresses = {host: docker("inspect", "--format", address, one) for host, one in self.names.items()}

    def put(self, path: Path, name: str) -> None:
        """Copies a file or folder to the home of the first host."""
        docker("cp", str(path), f"{self.names['10.0.0.1']}:{HOME}/{name}")

    def type(self, line: str, host: str = "10.0.0.1") -> "subprocess.Popen[str]":
        """Types a line in a new terminal of a host; it can be typed to as well."""
        real = re.sub(r"10\.0\.0\.\d", lambda found: self._addresses[found[0]], line)
        where = ["--user", "decoupled", "--workdir", HOME, "--env", f"PATH={HOME}/venv/bin:/usr/local/bin:/usr/bin:/bin"]
        self._typed.append(
            subprocess.Popen(
                ["docker", "exec", "--interactive", *where, self.names[host], "sh", "-c", real],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return self._typed[-1]

    def says(self, line: str, host: str = "10.0.0.1", seconds: float = 60.0) -> str:
        """What a line prints, which must succeed."""
        typed = self.type(line, host)
        said, _ = typed.communicate(timeout=seconds)
        assert typed.returncode == 0, f"{line}: {said}"
        return said

    def processes(self, host: str) -> list[int]:
        """The workers that run on a host."""
        return [int(pid) for pid in self.says("pgrep -x decoupled || true", host).split()]

    def loops(self, host: str) -> list[int]:
        """The shells on a host that would start a worker again."""
        return [int(pid) for pid in self.says("pgrep -f 'until[ ]venv' || true", host).split()]

    def hang_up(self) -> None:
        for one in self._typed:
            one.kill()
            one.communicate()
        self._typed.clear()

    def clear(self) -> None:
        self.hang_up()
        docker("rm", "--force", *self.names.values())
        docker("network", "rm", self._name)
