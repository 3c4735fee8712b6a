"""`MODEL=gpt docker-compose up`: PyTorch networks with each stage in a container, a built-in one and a user's own."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import until
from tests.docker.compose import Demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.usefixtures("with_torch")]

MY_NET = """from torch import nn


def make(spec, width: int = 4):
    return [nn.Sequential(nn.Linear(20, width), nn.ReLU()), nn.Linear(width, spec.outputs)]
"""


def schedules(demo: Demo) -> set[str]:
    """Those in the table with which the coordinator ends well."""
    coordinator = demo.containers("coordinator")[0]
    until("the end", lambda: demo.inspect(coordinator, ".State.Status") == "exited", 400.0, every_s=1.0)
    said = demo.docker("logs", coordinator)
    assert demo.inspect(coordinator, ".State.ExitCode") == "0", said
    return set(re.findall(r"\b(dni|lockstep) .*\d x ", said))


def test_a_transformer_trains_on_a_text_with_its_page(demo: Callable[..., Demo]) -> None:
    gpt = demo(MODEL="gpt", WORKERS="2", EPOCHS="1", MODEL_ARGS="width=16 depth=1 heads=2")
    gpt.compose("up", "--detach", seconds=200.0)
    training = gpt.until_page("it to train", lambda history: bool(history["now"]) and history["now"]["samples"] > 0)

    assert training["run"]["data"] == "text:/text/docs.txt"
    assert schedules(gpt) == {"dni", "lockstep"}


def test_a_network_of_ones_own_is_mounted_with_its_data(demo: Callable[..., Demo], tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((400, 20)), np.arange(400) % 3
    np.savez(tmp_path / "my_data.npz", x_train=x[:300], y_train=y[:300], x_test=x[300:], y_test=y[300:])
    (tmp_path / "my_net.py").write_text(MY_NET)
    for path in (tmp_path, tmp_path.parent, *tmp_path.iterdir()):
        path.chmod(0o755)  # the container's user is another
    own = {"MODEL": "own", "CODE": "/mine/my_net.py:make", "MODEL_ARGS": "width=8", "DATA": "/mine/my_data.npz"}

    mine = demo(**own, MINE=str(tmp_path), WORKERS="2", EPOCHS="2")
    mine.compose("up", "--detach", seconds=200.0)

    assert schedules(mine) == {"dni", "lockstep"}
