"""The user's code of a run that is gone on with: known by what its file holds, wherever that lies; another is refused."""

from pathlib import Path

import numpy as np
import pytest

from decoupled import UsageError, api, evaluate, load_network, train, user_code
from decoupled.config import Run
from decoupled.errors import RunFailed
from tests.e2e.commands import in_process, is_one_sentence
from tests.resume.interrupted import USUAL, Started, begun, refusal

MINE = """
from decoupled.nn.heads import Linear

class Half:
    parameters, state = [], {}

    def forward(self, x, training):
        return x / 2, None

    def backward(self, dy, cache, want_dx):
        return dy / 2 if want_dx else None

def plain(site):
    return Linear(site, sees_label=False)

def rounded(outputs, targets):
    return outputs.round().sum(-1)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the user's, in a process that was started with no other."""
    monkeypatch.setattr(user_code, "_named", {})
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    user_code.allow(str(path))
    return path


def test_a_run_whose_code_has_changed_is_not_gone_on_with(tmp_path: Path, mine: Path) -> None:
    folder = begun(tmp_path / "run", 40, head=f"{mine}:plain")

    mine.write_text(MINE.replace("False", "True"))
    user_code.allow(str(mine))

    changed = f"mine.py has changed since {folder} was trained with it. Put back what it was, or train anew."
    assert refusal(folder) == changed
    assert refusal(folder, Run(**USUAL, head=f"{mine}:plain")) == changed


def test_code_that_lies_elsewhere_is_the_same(tmp_path: Path, mine: Path, started: Started) -> None:
    folder = begun(tmp_path / "run", 40, head=f"{mine}:plain")

    user_code._named.clear()
    elsewhere = mine.rename(tmp_path / "elsewhere.py")
    user_code.allow(str(elsewhere))
    with pytest.raises(RunFailed):
        api.resume(folder)

    assert started.resolved is not None
    assert started.resolved.run.head == f"{elsewhere}:plain"
    assert started.checkpoint is not None


def test_another_thing_of_the_same_file_is_another(tmp_path: Path, mine: Path) -> None:
    mine.write_text(MINE + "\nother = plain\n")
    user_code.allow(str(mine))
    folder = begun(tmp_path / "run", 40, head=f"{mine}:plain")

    assert f"head {mine}:plain, not {mine}:other" in refusal(folder, Run(**USUAL, head=f"{mine}:other"))


def test_what_is_measured_may_be_another(tmp_path: Path, mine: Path, started: Started) -> None:
    folder = begun(tmp_path / "run", 40, metrics=(f"{mine}:rounded",))

    mine.write_text(MINE.replace("sum", "max"))
    user_code.allow(str(mine))
    with pytest.raises(RunFailed):
        api.resume(folder)

    assert started.checkpoint is not None


@pytest.mark.parametrize("text", ["", "3", "[]", "[" * 100_000])
def test_a_note_on_the_code_that_is_damaged_is_refused(tmp_path: Path, mine: Path, text: str) -> None:
    folder = begun(tmp_path / "run", 40, head=f"{mine}:plain")
    (folder / "code.json").write_text(text)

    assert refusal(folder) == f"{folder / 'code.json'} cannot be read. Remove it if the code is still the same."


def test_a_network_is_used_with_the_code_that_it_was_trained_with(tmp_path: Path, mine: Path) -> None:
    """Elsewhere too; with other code neither it nor its score is given."""
    folder = tmp_path / "run"
    train(Run(**USUAL | {"epochs": 1}, schedule="single", network={"activation": f"{mine}:Half"}), folder)
    score = evaluate(folder)

    user_code._named.clear()
    copy = mine.rename(tmp_path / "copy.py")
    found = load_network(folder, code=[str(copy)])
    assert found.predict(np.zeros((2, 64))).shape == (2,)
    assert evaluate(folder) == score

    user_code._named.clear()
    mine.write_text(MINE.replace("x / 2", "x / 3"))
    with pytest.raises(UsageError, match=r"mine\.py has changed since"):
        load_network(folder, code=[str(mine)])


def test_eval_says_that_the_code_has_changed(tmp_path: Path, mine: Path) -> None:
    train(Run(**USUAL | {"epochs": 1}, schedule="single", network={"activation": f"{mine}:Half"}), tmp_path / "run")
    mine.write_text(MINE.replace("x / 2", "x / 3"))

    done = in_process("eval", "run", "--code", "mine.py", cwd=tmp_path)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "mine.py has changed since run was trained with it" in done.stderr
