"""Damaged checkpoints: each is refused with a sentence that names the file, and the one before it is used."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled.checkpoint import Checkpoint, Store
from tests.checkpoint.saved import FILES, NEW, OLD, checkpoint, is_as_saved, saved
from tests.conftest import silent


def refusal(folder: Path) -> str:
    """What is said about the newest checkpoint, which is not used; the one before it is."""
    said = list[str]()
    found = Store(folder, 3, said.append).latest()
    assert is_as_saved(found, checkpoint(10))
    (sentence,) = said
    first, rest = sentence.split(". ", 1)
    assert rest == "The checkpoint before it is used instead, if there is one."
    return f"{first}."


def test_one_without_a_manifest_was_never_finished(folder: Path) -> None:
    (folder / NEW / "manifest.json").unlink()

    expected = f"{folder / NEW / 'manifest.json'} is not there, so the checkpoint was never finished."
    assert refusal(folder) == expected


@pytest.mark.parametrize("name", FILES[1:])
def test_a_stage_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / NEW / name).unlink()

    assert refusal(folder) == f"{folder / NEW / name} cannot be read: No such file or directory."


def foreign(content: bytes) -> bytes:
    return pickle.dumps({"weight": [1.0]})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [
        foreign,
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-2],
        lambda content: content + b"\0",
        lambda content: bytes(len(content)),
    ],
    ids=["pickle", "empty", "half", "truncated", "extended", "zeros"],
)
def test_a_damaged_file_is_named(folder: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = folder / NEW / name
    path.write_bytes(damage(path.read_bytes()))

    assert refusal(folder).startswith(f"{path} ")


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / NEW / name).unlink()
    (folder / NEW / name).mkdir()

    assert refusal(folder).startswith(f"{folder / NEW / name} ")


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_byte_is_noticed(folder: Path, name: str) -> None:
    path = folder / NEW / name
    good = path.read_bytes()

    for bit in range(len(good)):
        flipped = bytearray(good)
        flipped[bit] ^= 1 << bit % 8
        path.write_bytes(flipped)

        assert refusal(folder).startswith(f"{path} "), f"bit {bit % 8} of byte {bit}"


def test_a_file_of_another_checkpoint_is_not_taken_for_its_own(folder: Path) -> None:
    path = folder / NEW / "stage1.safetensors"
    path.write_bytes((folder / OLD / "stage1.safetensors").read_bytes())

    assert refusal(folder) == f"{path} is damaged: its content does not fit its checksum."


def test_a_whole_checkpoint_under_another_number_is_refused(folder: Path) -> None:
    (folder / NEW).rename(folder / "0000000021")

    expected = f"{folder / '0000000021' / 'manifest.json'} cannot be used: it is that of a checkpoint after microbatch 20."
    assert refusal(folder) == expected


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda manifest: {key: value for key, value in manifest.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: {"name": "somebody's", "version": "1.0.0", "private": True},
        lambda manifest: [manifest],
        lambda manifest: None,
        lambda manifest: manifest | {"format": 2},
        lambda manifest: manifest | {"format": "1"},
        lambda manifest: manifest | {"microbatch": "20"},
        lambda manifest: manifest | {"microbatch": 20.0},
        lambda manifest: manifest | {"microbatch": 30},
        lambda manifest: manifest | {"files": {}},
        lambda manifest: manifest | {"files": []},
        lambda manifest: manifest | {"files": manifest["files"][:1]},
        lambda manifest: manifest | {"files": [manifest["files"][0] | {"bytes": "3"}, manifest["files"][1]]},
        lambda manifest: manifest | {"files": [manifest["files"][0] | {"name": "/etc/passwd"}, manifest["files"][1]]},
        lambda manifest: manifest | {"about": "something"},
        lambda manifest: manifest | {"about": manifest["about"] | {"microbatch": 21}},
        lambda manifest: manifest | {"more": 1},
        *[without(name) for name in ("format", "microbatch", "files", "about", "sha256")],
    ],
)
def test_a_manifest_that_says_something_else_is_refused(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / NEW / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))

    assert refusal(folder).startswith(f"{path} ")


def test_when_none_is_sound_each_is_named_and_there_is_none(folder: Path) -> None:
    for name in (OLD, NEW):
        (folder / name / "stage1.safetensors").write_bytes(b"")
    said = list[str]()

    found = Store(folder, 3, said.append).latest()

    assert found is None
    assert [sentence.split(" ")[0] for sentence in said] == [str(folder / n / "stage1.safetensors") for n in (NEW, OLD)]


def diverged(microbatch: int, value: float) -> Checkpoint:
    whole = checkpoint(microbatch)
    whole.arrays[1]["weight"][1] = value
    return whole


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_checkpoint_whose_weights_are_no_numbers_is_not_kept(folder: Path, value: float) -> None:
    said = list[str]()
    store = Store(folder, 1, said.append)

    store.save(diverged(30, value))
    store.finish()

    assert len(said) == 1
    assert "no numbers" in said[0]
    assert is_as_saved(store.latest(), checkpoint(20))


def test_a_checkpoint_of_an_earlier_version_whose_weights_are_no_numbers_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("decoupled.checkpoint.store._are_numbers", lambda state: True)
        saved(folder, 30)
        store = Store(folder, 3, silent)
        store.save(diverged(40, np.nan))
        store.finish()
    said = list[str]()

    assert is_as_saved(Store(folder, 3, said.append).latest(), checkpoint(30))
    assert "its weights are no numbers" in said[0]
