"""text:FILE: windows of a user's text, each character foretold from those before it."""

from pathlib import Path

import numpy as np
import pytest

from decoupled import Run, train
from decoupled.api import load_data
from decoupled.data import load
from decoupled.data.text import FILE_BYTES_MAX, Text
from decoupled.errors import UsageError
from decoupled.nn.targets import Targets

WORDS = "Es war einmal ein Käfer, der hieß Wörle; 日本 ✓\n" * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "tale.txt").write_text(WORDS, encoding="utf-8")
    return tmp_path / "tale.txt"


def refusal(path: Path, **options: int) -> str:
    with pytest.raises(UsageError) as refused:
        load(f"text:{path}", options=options)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_the_vocabulary_is_all_characters_in_order(path: Path) -> None:
    text = Text(path)

    assert text.targets.labels is not None
    assert text.targets.labels.tolist() == sorted(set(WORDS))
    assert text.outputs == text.x.below == text.y.below == len(set(WORDS))


@pytest.mark.parametrize("context", [2, 7, 64])
def test_targets_are_the_next_characters(path: Path, context: int) -> None:
    text = Text(path, context)
    labels = text.targets.labels
    assert labels is not None

    for batches in (text.batches(4, 1, 0, 0), text.test_batches(4, 0)):
        for x, y in batches:
            text.x.describes(x)
            text.y.describes(y)
            for window, following in zip(labels[x], text.targets.restored(y), strict=True):
                assert "".join(window) + following[-1] in WORDS
                assert window[1:].tolist() == following[:-1].tolist()


def test_an_epoch_has_every_window_once_and_none_that_overlap(tmp_path: Path) -> None:
    """In a text whose characters are all different, a character says where it is."""
    (tmp_path / "all.txt").write_text("".join(chr(0x4E00 + i) for i in range(1000)), encoding="utf-8")
    text = Text(tmp_path / "all.txt", context=8)

    starts = [{int(row[0]) for x, _ in text.batches(16, epoch, 0, seed=3) for row in x} for epoch in (1, 2)]

    assert [len(one) for one in starts] == [text.samples, text.samples] == [111, 111]
    assert all({start % 8 for start in one} == {min(one)} for one in starts)
    assert starts[0] != starts[1]
    assert max(int(y.max()) for x, y in text.batches(16, 1, 0, 3)) < 900
    assert min(int(x.min()) for x, y in text.test_batches(16, 0)) == 900


def test_an_epoch_can_be_taken_up_anywhere(path: Path) -> None:
    text = Text(path, context=8)

    whole, rest = (list(text.batches(16, 2, start, 1)) for start in (0, 3))

    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(whole[3:], rest, strict=True))


def test_windows_to_test_with_are_bounded_and_spread(path: Path) -> None:
    few, all_ = Text(path, context=2, test=5), Text(path, context=2)

    assert few.test_samples == 5 < all_.test_samples
    assert (next(few.test_batches(5, 0))[0][-1] == next(all_.test_batches(4096, 0))[0][-1]).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has 0 different characters"),
        (b"a" * 5000, "has 1 different characters"),
        (b"abc" * 20, "is too short: with 60 characters it has no windows of 64"),
        (b"ab\0" * 2000, "holds NUL characters"),
        (b"abc\xff" * 2000, "is no text in UTF-8: invalid start byte at byte 3"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bad.txt").write_bytes(content)

    assert said in refusal(tmp_path / "bad.txt")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)

    assert "is larger than 128 MB" in refusal(tmp_path / "huge.txt")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.txt") == f"The text {tmp_path / 'none.txt'} cannot be read: No such file or directory."
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"context": 1}, "windows of 2 to 65,536"),
        ({"context": 0}, "windows of 2 to 65,536"),
        ({"test": -1}, "at least 1 to test with"),
        ({"context": 100_000}, "windows of 2 to 65,536"),
        ({"test": 0}, "at least 1"),
        ({"contxt": 3}, "text:FILE has no option contxt; it has context, test"),
    ],
)
def test_options_that_do_not_fit_are_refused(path: Path, options: dict[str, int], said: str) -> None:
    assert said in refusal(path, **options)


def test_another_text_has_another_fingerprint(path: Path) -> None:
    before = Text(path).fingerprint
    path.write_text(WORDS + "x", encoding="utf-8")

    assert Text(path).fingerprint != before


def test_a_name_that_has_the_form_of_a_reference_is_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    run = Run(data="text:tale.txt")

    assert run.code == ()
    assert load_data(run).name == "text:tale.txt"


def test_tokens_are_encoded_and_had_back(path: Path) -> None:
    text = Text(path)
    targets = Targets.from_json(text.targets.to_json())

    y = np.array([list("Käfer"), list("einma")])

    assert targets.restored(targets.encode(y, text.outputs)).tolist() == y.tolist()
    with pytest.raises(UsageError, match="hold the label 'Q'"):
        targets.encode(np.array([["Q"]]), text.outputs)
    with pytest.raises(UsageError, match="of shape \\(samples, positions\\)"):
        targets.encode(np.array(["a"]), text.outputs)


def test_a_network_of_rows_says_that_it_does_not_write(path: Path) -> None:
    with pytest.raises(UsageError, match=r"^mlp gives one answer a sample"):
        train(Run(data=f"text:{path}"))
