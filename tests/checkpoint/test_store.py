"""The store: the newest few checkpoints, of which the newest sound one is used, whatever happened to the others."""

import math
import threading
from pathlib import Path

import pytest

from decoupled.checkpoint import Store, store, write_whole
from tests.checkpoint.saved import FILES, NEW, OLD, checkpoint, is_as_saved, names, saved
from tests.conftest import silent, until


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


def test_one_stages_part_comes_back_whatever_happened_to_the_others(folder: Path) -> None:
    (folder / NEW / "stage0.safetensors").unlink()

    found = Store(folder, 3, silent).load_stage(1, up_to=1000).result()

    assert found is not None
    assert found.about == {"stage": 1}
    assert {name: array.tolist() for name, array in found.arrays.items()} == {"weight": [201.0] * 3, "count": 20}


def test_a_stage_never_goes_on_from_later_than_the_run_stands(folder: Path) -> None:
    """Another stage's part of the newest checkpoint was damaged, so the run was resumed from the one before."""
    (folder / NEW / "stage0.safetensors").unlink()
    kept = Store(folder, 3, list[str]().append)
    resumed = kept.latest()
    assert resumed is not None

    found = kept.load_stage(1, up_to=resumed.microbatch).result()

    assert found is not None
    assert found.arrays["count"] == resumed.arrays[1]["count"] == 10


def test_a_stage_whose_part_is_damaged_has_that_of_the_checkpoint_before(folder: Path) -> None:
    (folder / NEW / "stage1.safetensors").write_bytes(b"")
    said = list[str]()
    kept = Store(folder, 3, said.append)

    found = kept.load_stage(1, up_to=1000).result()
    before = list(said)
    kept.pass_on_warnings()

    assert found is not None
    assert found.arrays["count"] == 10
    assert (before, len(said)) == ([], 1), "it is said in the thread that asks"


def test_reading_waits_for_what_is_being_written_and_nobody_waits_for_either(tmp_path: Path, gate: Gate) -> None:
    kept = Store(tmp_path, 3, silent)

    kept.save(checkpoint(10))
    read = kept.load_stage(0, up_to=1000)
    early = read.done()
    gate.is_open.set()

    assert not early
    found = read.result()
    assert found is not None
    assert found.arrays["count"] == 10
