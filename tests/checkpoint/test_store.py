"""The store: the newest few checkpoints, of which the newest sound one is used, whatever happened to the others."""

import errno
import math
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from decoupled.checkpoint import Store, store, write_whole
from tests.checkpoint.saved import FILES, NEW, OLD, checkpoint, is_as_saved, saved, silent
from tests.conftest import until


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def failing_at(number: int) -> Callable[[Path, bytes], None]:
    """Writes files, but for that one, for which the disk is full."""
    written = list[Path]()

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(path, content)

    return write


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    once = checkpoint(7, name="ü", losses=[0.1 + 0.2, 1e-320, -math.inf], large=2**63, nested={"a": [None, True, ""]})
    kept = Store(tmp_path / "not" / "there" / "yet", 3, silent)

    kept.save(once)

    assert is_as_saved(kept.latest(), once)
    assert is_as_saved(Store(tmp_path / "not" / "there" / "yet", 3, silent).latest(), once)


def test_a_loss_that_is_no_number_comes_back_as_one_that_is_none(tmp_path: Path) -> None:
    kept = Store(tmp_path, 3, silent)
    kept.save(checkpoint(7, loss=math.nan))

    found = kept.latest()

    assert found is not None
    assert math.isnan(found.about["loss"])


@pytest.mark.parametrize("content", [[], ["12345", "notes.txt"]])
def test_where_none_was_saved_there_is_none_and_nothing_to_say(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        (tmp_path / name).touch()

    assert Store(tmp_path, 3, silent).latest() is None
    assert Store(tmp_path / "no such folder", 3, silent).latest() is None


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_few_are_kept(tmp_path: Path, keep: int) -> None:
    saved(tmp_path, 8, 9, 100, 20_000, 300_000, keep=keep)

    assert names(tmp_path) == ["0000000009", "0000000100", "0000020000", "0000300000"][-keep:]
    assert is_as_saved(Store(tmp_path, keep, silent).latest(), checkpoint(300_000))


def test_the_newest_is_the_one_with_the_greatest_number_however_long(tmp_path: Path) -> None:
    saved(tmp_path, 9_999_999_998, 9_999_999_999, 10_000_000_000, keep=2)

    assert names(tmp_path) == ["10000000000", "9999999999"]
    assert is_as_saved(Store(tmp_path, 2, silent).latest(), checkpoint(10_000_000_000))


def test_names_that_are_not_those_of_checkpoints_are_left_alone(folder: Path) -> None:
    others = ["best", "7", ".0000000005", "0000000005.bak", "-000000005", "\u0660" * 9 + "\u0665"]
    for name in others:
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text("mine")
    (folder / "0000000006").write_text("a file")

    saved(folder, 30, keep=1)

    assert set(names(folder)) == {*others, "0000000006", "0000000030"}
    assert is_as_saved(Store(folder, 1, silent).latest(), checkpoint(30))


def test_unfinished_checkpoints_go_with_the_older_ones(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20, 30)
    (tmp_path / "0000000010" / "manifest.json").unlink()
    (tmp_path / "0000000020" / "manifest.json").unlink()

    saved(tmp_path, 40, keep=2)

    assert names(tmp_path) == ["0000000030", "0000000040"]


def test_what_a_run_was_taken_back_from_does_not_push_out_what_it_saves_then(folder: Path) -> None:
    """The newest is damaged, so the run goes on from the one before it, and saves others that are older than the newest."""
    (folder / NEW / "stage0.safetensors").write_bytes(b"")

    saved(folder, 15, keep=1)

    said = list[str]()
    assert is_as_saved(Store(folder, 1, said.append).latest(), checkpoint(15))
    assert len(said) == 1


def test_a_second_one_after_the_same_microbatch_is_the_newer(folder: Path) -> None:
    kept = Store(folder, 2, silent)

    for again in range(12):
        kept.save(checkpoint(20, again=again))

    assert is_as_saved(kept.latest(), checkpoint(20, again=11))
    assert len(names(folder)) == 2


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


class Gate:
    """Holds up the writing of files until it is opened."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.written: list[Path] = []

    def write(self, path: Path, content: bytes) -> None:
        assert self.is_open.wait(20)
        self.written.append(path)
        write_whole(path, content)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(store, "write_whole", made.write)
    return made


def test_saving_waits_for_no_disk_and_the_store_is_busy_until_all_is_there(tmp_path: Path, gate: Gate) -> None:
    kept = Store(tmp_path, 3, silent)

    before = kept.is_busy
    kept.save(checkpoint(10))
    during = kept.is_busy
    gate.is_open.set()
    until("the checkpoint to be written", lambda: not kept.is_busy)

    assert (before, during) == (False, True)
    assert names(tmp_path / OLD) == list(FILES)


def test_one_checkpoint_is_written_after_another(tmp_path: Path, gate: Gate) -> None:
    kept = Store(tmp_path, 3, silent)
    kept.save(checkpoint(10))
    gate.is_open.set()

    kept.save(checkpoint(20))
    kept.finish()

    assert names(tmp_path) == [OLD, NEW]
    assert gate.written.index(tmp_path / OLD / "manifest.json") < gate.written.index(tmp_path / NEW / "stage0.safetensors")


def test_the_latest_is_the_one_still_being_written(tmp_path: Path, gate: Gate) -> None:
    kept = Store(tmp_path, 3, silent)
    kept.save(checkpoint(10))
    gate.is_open.set()

    assert is_as_saved(kept.latest(), checkpoint(10))


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


def test_one_stages_part_comes_back_whatever_happened_to_the_others(folder: Path) -> None:
    (folder / NEW / "stage0.safetensors").unlink()

    found = Store(folder, 3, silent).load_stage(1).result()

    assert found is not None
    assert found.about == {"stage": 1}
    assert {name: array.tolist() for name, array in found.arrays.items()} == {"weight": [201.0] * 3, "count": 20}


def test_a_stage_whose_part_is_damaged_has_that_of_the_checkpoint_before(folder: Path) -> None:
    (folder / NEW / "stage1.safetensors").write_bytes(b"")
    said = list[str]()
    kept = Store(folder, 3, said.append)

    found = kept.load_stage(1).result()
    before = list(said)
    kept.pass_on_warnings()

    assert found is not None
    assert found.arrays["count"] == 10
    assert (before, len(said)) == ([], 1), "it is said in the thread that asks"


def test_reading_waits_for_what_is_being_written_and_nobody_waits_for_either(tmp_path: Path, gate: Gate) -> None:
    kept = Store(tmp_path, 3, silent)

    kept.save(checkpoint(10))
    read = kept.load_stage(0)
    early = read.done()
    gate.is_open.set()

    assert not early
    found = read.result()
    assert found is not None
    assert found.arrays["count"] == 10
