"""A network that was trained on a text goes on with one, by the command and from Python."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from decoupled import Run, UsageError, train
from decoupled.trained import evaluate, sample
from tests.e2e.commands import in_process, is_one_sentence

pytestmark = pytest.mark.slow

ALPHABET = "abcdefghijkl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has learnt the alphabet, over and over, and one on digits."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(ALPHABET * 200)
    (folder / "other.txt").write_text(ALPHABET[2:8] * 200)
    options = {"data": {"context": 16}, "model": {"width": 16, "depth": 1, "heads": 2}}
    learning = {"epochs": 12, "batch": 16, "lr": 1e-2, "args": options}
    train(Run(model="gpt", data=f"text:{folder / 'text.txt'}", schedule="single", **learning), folder / "run")
    train(Run(schedule="single", epochs=1, hidden=(8,)), folder / "digits")
    return folder


def test_the_text_goes_on_as_it_was_learnt_beyond_the_window_it_looks_back_on(folder: Path) -> None:
    said = "a" + "".join(sample(folder / "run", "a", tokens=50, temperature=0))

    assert all(b == ALPHABET[(ALPHABET.index(a) + 1) % len(ALPHABET)] for a, b in pairwise(said))


def test_the_command_prints_the_prompt_and_what_follows(folder: Path) -> None:
    done = in_process("sample", "run", "--prompt", "cde", "--tokens", "20", "--temperature", "0", cwd=folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cde{(ALPHABET * 3)[5:25]}\n"


def test_a_seed_decides_what_is_drawn(folder: Path) -> None:
    drawn = ["".join(sample(folder / "run", "a", tokens=40, temperature=9.0, seed=seed)) for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("run", "prompt", "said"),
    [
        ("run", "a?b!", "has no '!' '?'. Leave that out."),
        ("run", "", "The prompt is empty."),
        ("digits", "a", "digits was not trained on a text"),
        ("nothing", "a", "There is no file"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_in_one_sentence(run: str, prompt: str, said: str, folder: Path) -> None:
    done = in_process("sample", run, "--prompt", prompt, cwd=folder)

    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert said in done.stderr


def test_another_text_is_evaluated_by_its_characters_whatever_numbers_they_have_there(folder: Path) -> None:
    found = evaluate(folder / "run", f"text:{folder / 'other.txt'}")

    assert found.accuracy is not None
    assert found.accuracy > 0.7  # its sixth character is followed by its first, which is new
    np.testing.assert_array_less(0, found.samples)
    (folder / "strange.txt").write_text("a?" * 500)
    with pytest.raises(UsageError, match=r"the label '\?', which the network was not trained for"):
        evaluate(folder / "run", f"text:{folder / 'strange.txt'}")
