"""Processes that are killed while they save: the last checkpoint that was finished, or the one under way, can be used."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def killed(folder: Path, moments: int, *how: str) -> list[dict[str, Any]]:
    """What each of so many killed processes left behind."""
    command = [sys.executable, "-m", "tests.checkpoint.dying", str(folder), str(moments), *how]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("moments", "how", "by"), [(60, [], signal.SIGKILL), (30, ["clock"], signal.SIGALRM)])
def test_a_process_that_is_killed_while_it_saves_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, moments: int, how: list[str], by: signal.Signals
) -> None:
    """By ones that keep a single checkpoint, and save each a second time after the same microbatch."""
    ends = killed(tmp_path, moments, *how)

    assert len(ends) == moments
    for end in ends:
        assert end["how"] == -by
        assert end["is_sound"], end
        assert end["found"] in (end["finished"], end["finished"] + 1), end
        assert all("never finished" in sentence for sentence in end["said"]), end
    assert max(end["finished"] for end in ends) >= 1, "some got on"
    assert any(end["said"] for end in ends), "some were in the middle"
