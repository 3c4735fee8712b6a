"""A checkpoint that cannot be saved: it costs a warning, never the run or an earlier checkpoint."""

import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from decoupled.checkpoint import Store, store, write_whole
from tests.checkpoint.saved import NEW, OLD, checkpoint, is_as_saved, names
from tests.conftest import until


def failing_at(number: int) -> Callable[[Path, bytes], None]:
    """Writes files, but for that one, for which the disk is full."""
    written = list[Path]()

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(path, content)

    return write


def test_a_second_one_after_the_same_microbatch_that_fails_leaves_the_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    kept = Store(folder, 1, said.append)
    monkeypatch.setattr(store, "write_whole", failing_at(2))

    kept.save(checkpoint(20, again=True))

    assert is_as_saved(kept.latest(), checkpoint(20))
    assert len(said) == 1


@pytest.mark.parametrize("number", range(3))
def test_a_full_disk_costs_a_checkpoint_and_a_warning(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    kept = Store(folder, 2, said.append)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_whole", failing_at(number))
        kept.save(checkpoint(30))
        kept.finish()

    where = folder / "0000000030"
    (sentence,) = said
    assert str(where) in sentence
    assert "No space left on device" in sentence
    assert names(folder) == [OLD, NEW]
    assert is_as_saved(kept.latest(), checkpoint(20))
    kept.save(checkpoint(30))
    assert is_as_saved(kept.latest(), checkpoint(30))


@pytest.mark.parametrize("room", [0, 100, 1 << 16])
def test_a_file_that_the_kernel_does_not_let_grow_leaves_nothing_of_its_checkpoint(folder: Path, room: int) -> None:
    said = list[str]()
    kept = Store(folder, 2, said.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        kept.save(checkpoint(30, size=1 << 14))
        kept.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert len(said) == 1
    assert "File too large" in said[0]
    assert names(folder) == [OLD, NEW]
    assert is_as_saved(kept.latest(), checkpoint(20))


def test_too_little_memory_costs_a_checkpoint_and_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> bytes:
        raise MemoryError

    said = list[str]()
    kept = Store(folder, 2, said.append)
    monkeypatch.setattr(store, "pack_arrays", exhausted)

    kept.save(checkpoint(30))
    kept.finish()

    assert len(said) == 1
    assert "no memory left" in said[0]
    assert names(folder) == [OLD, NEW]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    said = list[str]()
    kept = Store(tmp_path / "checkpoints", 2, said.append)

    kept.save(checkpoint(30))
    kept.finish()

    assert [sentence.split(" could")[0] for sentence in said] == [f"The checkpoint {tmp_path / 'checkpoints' / '0000000030'}"]
    assert (tmp_path / "checkpoints").read_text() == "a file"


def test_what_went_wrong_is_said_once_in_the_thread_that_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[int]()
    kept = Store(folder, 3, lambda _: said.append(threading.get_ident()))
    monkeypatch.setattr(store, "write_whole", failing_at(0))

    kept.save(checkpoint(30))
    until("the store to be idle", lambda: not kept.is_busy)
    kept.finish()

    assert said == [threading.get_ident()]


@pytest.mark.parametrize("error", [ValueError("no such dtype"), RuntimeError("closed"), KeyError("about")], ids=repr)
def test_whatever_else_goes_wrong_costs_a_checkpoint_and_a_warning_and_the_next_is_saved(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise error

    said = list[str]()
    kept = Store(folder, 2, said.append)
    with monkeypatch.context() as patch:
        patch.setattr(store, "pack_arrays", fail)
        kept.save(checkpoint(30))
        kept.finish()
    kept.save(checkpoint(40))

    assert is_as_saved(kept.latest(), checkpoint(40))
    assert len(said) == 1
    assert str(folder / "0000000030") in said[0]
    assert type(error).__name__ in said[0]
    assert "0000000030" not in names(folder)
