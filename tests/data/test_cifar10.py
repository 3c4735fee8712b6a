"""cifar10 from its binary files: found where they may lie, plain or in their archive, and checked before use."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest

from decoupled.data import load
from decoupled.data.cifar10 import ARCHIVE, FOLDER, ROW, TEST, TRAIN, cifar10
from decoupled.errors import UsageError
from tests.datasets import CIFAR10, write_cifar10


def packed(folder: Path) -> Path:
    """The archive of the six files."""
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        archive.add(write_cifar10(folder / "unpacked"), FOLDER)
    return folder / ARCHIVE


def refusal(folder: Path, train: int | None = None) -> str:
    """What is said about files that cannot be used."""
    with pytest.raises(UsageError) as refused:
        cifar10(folder, train)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("below", [".", FOLDER, "cifar10", f"cifar10/{FOLDER}"])
def test_files_are_found_in_the_folder_or_below_it(tmp_path: Path, below: str) -> None:
    write_cifar10(tmp_path / below)

    made = cifar10(tmp_path)

    assert (made.x_train == np.concatenate([CIFAR10[name][:, 1:] for name in TRAIN]).reshape(-1, 3, 32, 32)).all()
    assert made.y_train.tolist() == [label for name in TRAIN for label in CIFAR10[name][:, 0]]
    assert (made.x_test == CIFAR10[TEST][:, 1:].reshape(-1, 3, 32, 32)).all()
    assert (made.x_train.dtype.name, made.x.shape, made.outputs, made.targets.task) == (
        "uint8",
        (3, 32, 32),
        10,
        "classification",
    )


def test_the_archive_is_read_as_it_is(tmp_path: Path) -> None:
    packed(tmp_path)

    made = cifar10(tmp_path)

    assert made.fingerprint == cifar10(tmp_path / "unpacked").fingerprint


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECOUPLED_DATA", str(write_cifar10(tmp_path)))

    assert cifar10().samples == 20


def test_each_channel_is_scaled_by_itself(tmp_path: Path) -> None:
    made = cifar10(write_cifar10(tmp_path))
    scaled = (made.x_train - made.mean) / made.deviation

    assert made.mean.shape == made.deviation.shape == (3, 1, 1)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), 1, rtol=1e-4)


def test_the_first_so_many_images_can_be_had_alone(tmp_path: Path) -> None:
    made = cifar10(write_cifar10(tmp_path), train=6)

    assert made.y_train.tolist() == [*CIFAR10[TRAIN[0]][:, 0], *CIFAR10[TRAIN[1]][:2, 0]]
    assert made.test_samples == 4


@pytest.mark.parametrize("train", [0, -1, 21])
def test_a_number_of_images_that_cannot_be_is_refused(tmp_path: Path, train: int) -> None:
    assert refusal(write_cifar10(tmp_path), train) == f"cifar10 has 20 images to train on, so train={train} cannot be."


def test_images_to_train_on_are_flipped_and_shifted_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    write_cifar10(tmp_path)

    kinds = [
        getattr(load("cifar10", tmp_path, options=options, augmentation=kind), "augment", None)
        for options, kind in (({}, None), ({"augment": False}, None), ({}, "none"), ({}, "shift"))
    ]

    assert kinds == ["flip-shift", "none", "none", "shift"]


@pytest.mark.parametrize("name", [TRAIN[3], TEST])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content * 2501])
def test_a_file_of_another_size_is_named_before_it_is_read(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    (write_cifar10(tmp_path) / name).write_bytes(damage(CIFAR10[name].tobytes()))

    assert refusal(tmp_path).startswith(f"{tmp_path / name} is not a file of cifar10's: it has ")


def test_a_label_that_is_none_is_told(tmp_path: Path) -> None:
    (write_cifar10(tmp_path) / TEST).write_bytes(b"\x0a" + bytes(ROW - 1))

    assert refusal(tmp_path) == f"{tmp_path / TEST} is damaged. Fetch it anew."


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path} holds no {TEST} and no {ARCHIVE}.")
    (write_cifar10(tmp_path) / TRAIN[1]).unlink()
    assert refusal(tmp_path) == f"{tmp_path} holds no {TRAIN[1]}. Fetch it anew."


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-2000], lambda content: b"no archive", lambda content: b""],
    ids=["short", "other", "empty"],
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = packed(tmp_path)
    path.write_bytes(damage(path.read_bytes()))

    assert refusal(tmp_path).startswith(str(path))


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
        archive.add(write_cifar10(tmp_path / "unpacked"), "another-folder")

    assert refusal(tmp_path) == f"{tmp_path / ARCHIVE} holds no {TRAIN[0]}. Fetch it anew."


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", unreachable)

    with pytest.raises(UsageError, match=r"cifar10 could not be downloaded \(no route to host\)\. .*--data-dir\.$"):
        cifar10()
