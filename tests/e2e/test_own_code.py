"""Code of the user's in workers that are started by hand: each runs its own copy, and both sides say where that will not do."""

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.commands import decoupled, free_address, in_process, is_one_sentence, started


@pytest.mark.parametrize("has_code", [True, False])
def test_workers_run_code_of_the_users_that_they_were_started_with(has_code: bool, tmp_path: Path) -> None:
    """Each has its own copy, where it likes; without one, both sides say which file is missing."""
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "my_head.py", tmp_path / "elsewhere" / "copy.py"):
        path.write_text("from decoupled.nn.heads import Linear\n\ndef plain(site):\n    return Linear(site, sees_label=False)\n")
    address = free_address()
    code = ["--code", "elsewhere/copy.py"] if has_code else []
    workers = [started("worker", "--join", address, *code, cwd=tmp_path) for _ in range(2)]

    options = ["--head", "my_head.py:plain", "--hidden", "16", "--epochs", "2"]
    done = decoupled("coordinator", "--bind", address, *options, cwd=tmp_path)
    said = [worker.communicate(timeout=20)[1] for worker in workers]

    if has_code:
        assert (done.returncode, said) == (0, ["", ""]), done.stderr
    else:
        assert is_one_sentence(done.stderr)
        assert "--code my_head.py" in done.stderr
        assert any(is_one_sentence(one) and "--code my_head.py" in one for one in said)


MY_NET = """from torch import nn


def make(spec, width: int = 4):
    return [nn.Sequential(nn.Linear(64, width), nn.ReLU()), nn.Linear(width, spec.outputs)]
"""


@pytest.mark.slow
@pytest.mark.parametrize("has", ["the same", "another", "none"])
def test_workers_run_the_blocks_that_they_were_started_with(has: str, tmp_path: Path) -> None:
    """A worker names the model as the coordinator does; both sides say where it has none, or another one."""
    pytest.importorskip("torch")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "my_net.py").write_text(MY_NET)
    (tmp_path / "elsewhere" / "my_net.py").write_text(MY_NET if has == "the same" else f"# mine\n{MY_NET}")
    x, y = np.random.default_rng(0).standard_normal((200, 64)), np.arange(200) % 3
    np.savez(tmp_path / "mine.npz", x_train=x[:150], y_train=y[:150], x_test=x[150:], y_test=y[150:])
    address = free_address()
    words = [] if has == "none" else ["--model", "elsewhere/my_net.py:make"]
    workers = [started("worker", "--join", address, *words, cwd=tmp_path) for _ in range(2)]

    options = ["--data", "mine.npz", "--model", "my_net.py:make", "--epochs", "1", "--out", "run"]
    done = decoupled("coordinator", "--bind", address, *options, cwd=tmp_path)
    said = [worker.communicate(timeout=20)[1] for worker in workers]

    if has == "the same":
        assert (done.returncode, said) == (0, ["", ""]), done.stderr
        return
    why = "with which this worker was not started" if has == "none" else "another my_net.py than the coordinator"
    assert is_one_sentence(done.stderr)
    assert why in done.stderr
    assert any(is_one_sentence(one) and why in one for one in said)


def test_a_worker_refuses_a_model_that_there_is_not(tmp_path: Path) -> None:
    done = in_process("worker", "--join", free_address(), "--model", "gtp", cwd=tmp_path)

    assert done.returncode == 2
    assert "did you mean gpt" in done.stderr
