"""Event files, read back as TensorBoard would."""

import resource
import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from decoupled.errors import UsageError
from decoupled.telemetry.tensorboard import EventFiles
from tests.conftest import silent
from tests.telemetry.spans import metrics


def scalars(folder: Path) -> list[tuple[str, float, int]]:
    """Name, value and step of all that was written, in order."""
    (path,) = folder.iterdir()
    content, found = path.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])  # then 4 bytes of checksum, the event, 4 bytes of checksum
        event = Event.FromString(content[12 : 12 + size])
        found += [(value.tag, round(value.simple_value, 6), event.step) for value in event.summary.value]
        content = content[16 + size :]
    return found


def test_a_moment_a_second_is_written_and_every_evaluation_once(tmp_path: Path) -> None:
    run = metrics()

    with EventFiles(tmp_path / "tensorboard", silent) as files:
        for seconds in (0.25, 0.5, 1.0, 1.5):
            files.write(run.progress(seconds, epoch=1))

    found = scalars(tmp_path / "tensorboard")
    assert [(value, step) for name, value, step in found if name == "train/loss"] == [(0.5, 50), (0.5, 50)]
    assert [(value, step) for name, value, step in found if name == "test/accuracy"] == [(0.9, 100)]
    assert {name for name, _, _ in found} >= {
        "train/samples_per_s",
        "train/overlap",
        "test/loss",
        "stage0/busy",
        "stage1/staleness",
    }
    assert "stage1/head_cosine" not in {name for name, _, _ in found}, "the last stage has no head"


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    with EventFiles(tmp_path / "tensorboard", silent):
        pass

    assert list(tmp_path.iterdir()) == []


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    with pytest.raises(UsageError, match=r"pip install .decoupled-trainer\[tensorboard\]"):
        EventFiles(tmp_path, silent)


def test_a_full_disk_costs_events_and_a_warning(tmp_path: Path) -> None:
    """The kernel refuses what goes beyond the largest size of a file, just as a full disk would."""
    run, warnings = metrics(), list[str]()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EventFiles(tmp_path / "tensorboard", warnings.append) as files:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            for seconds in range(100):
                files.write(run.progress(seconds, epoch=1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    (warning,) = warnings
    assert warning.endswith("File too large. Training goes on without event files.")
