"""The lines of docs/distributed.md for docker-compose, as they are written there."""

import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.compose import COMPOSE, ROOT, Demo, comparison
from tests.e2e.commands import free_address

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_document_s_own_lines_work_one_after_another(demo: Callable[..., Demo], tmp_path: Path) -> None:
    """With fewer epochs, a free port, and what they bring out of the containers in a folder of the test."""
    one = demo(EPOCHS="20")
    section = (ROOT / "docs" / "distributed.md").read_text().split("\n## Compose")[1]
    section = re.split(r"\n###? ", section)[0]  # what needs PyTorch, which comes next, is tried by test_torch
    lines = [line.split("  #")[0] for block in section.split("```sh\n")[1:] for line in block.split("```")[0].splitlines()]
    short = {
        r"EPOCHS=\d+": "EPOCHS=20",
        r"EPOCHS=\d+(?=.*--detach)": "EPOCHS=200",
        "127.0.0.1:9090": free_address().removeprefix("tcp://"),
        "runs-of-compose": str(tmp_path / "runs"),
        r"runs\.tar": str(tmp_path / "runs.tar"),
        "--rm bench": "--rm -T bench --epochs 1 --repeat 1",
        "docker-compose": " ".join(COMPOSE),
    }

    said = {}
    for line in lines:
        words = line
        for what, instead in short.items():
            words = re.sub(what, instead, words)
        said[line.strip()] = one.shell(words, seconds=200)

    tables = {line: comparison(text) for line, text in said.items() if line.endswith(("docker-compose up", "coordinator"))}
    assert len(tables) == 5
    for line, table in tables.items():
        assert {schedule: workers for schedule, (workers, _) in table.items()} == dict.fromkeys(
            ("dni", "lockstep"), 2 if "WORKERS=2" in line else 4
        )
        assert min(accuracy for _, accuracy in table.values()) > 90
    (measured,) = (text for line, text in said.items() if "bench --schedule" in line)
    assert re.search(r"^dni +[\d,]+ ", measured, re.MULTILINE)
    copied = {report.parent.name for report in (tmp_path / "runs").glob("*/*/report.json")}
    with tarfile.open(tmp_path / "runs.tar") as archive:
        packed = {Path(name).parent.name for name in archive.getnames() if name.endswith("report.json")}
    assert copied == {"dni", "lockstep"} <= packed
