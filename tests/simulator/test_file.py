"""The file of a network: what it says, and the sentence about what is wrong with it."""

import math
from pathlib import Path

import pytest

from decoupled.errors import UsageError
from decoupled.simulator.file import read

WORK = "[work]\nforward_ms = 10\nbackward_ms = 20\n"
FILES = Path(__file__).parents[2] / "docs" / "networks"


def written(folder: Path, text: str) -> Path:
    path = folder / "net.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_devices_and_links_come_in_rows(tmp_path: Path) -> None:
    text = f"""{WORK}samples = 4
activation_mb = 1
[coordinator]
checkpoint_s = 60
[[devices]]
count = 2
[[devices]]
speed = 0.5
failure_h = 2
upload_mbit = 20
[[links]]
latency_ms = 1
count = 1
[[links]]
latency_ms = 20
mbit = 100
"""
    file = read(written(tmp_path, text))
    network = file.network()

    assert file.samples == 4
    assert [device.costs.forward for device in network.devices] == [0.01, 0.01, 0.02]
    assert [device.failure_every for device in network.devices] == [math.inf, math.inf, 7200]
    assert [device.upload for device in network.devices] == [math.inf, math.inf, 20]
    assert [(link.latency, link.bandwidth) for link in network.links] == [(0.001, math.inf), (0.02, 100), (0.02, 100)]
    assert (network.sizes.activation, network.sizes.gradient, network.coordinator.checkpoint_every) == (8, 8, 60)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_files_of_the_documents_can_be_read(path: Path) -> None:
    assert len(read(path).network().devices) in (100, 1000)


DEVICE = "[[devices]]\ncount = 3\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("work = [", "cannot be read as a network"),
        (DEVICE, "net.toml: work is missing."),
        (WORK, "net.toml: devices is missing."),
        ("[work]\nforward_ms = 10\n" + DEVICE, "net.toml: work.backward_ms is missing."),
        (
            WORK + DEVICE + "speed = -1\n",
            "net.toml: devices.speed in row 1: input should be greater than or equal to 0.001, not -1.",
        ),
        (WORK + DEVICE + "[[devices]]\nspeed = 'fast'\n", "devices.speed in row 2: input should be a valid number, not 'fast'."),
        (WORK + DEVICE + "failure_h = 1e-15\n", "devices.failure_h in row 1: input should be greater than or equal to 0.001"),
        (WORK + "state_mb = 1e308\n" + DEVICE, "work.state_mb: input should be less than or equal to"),
        (WORK + DEVICE + "speeed = 1\n", "net.toml: there is no devices.speeed in row 1."),
        (WORK + DEVICE + "[[links]]\nlatency_ms = inf\n", "links.latency_ms in row 1: input should be a finite number"),
        (WORK + DEVICE + "[[links]]\ncount = 2\n", "net.toml: 2 links do not fit 3 devices"),
        (WORK + "[[devices]]\ncount = 600\n" * 2, "net.toml: 1,200 devices are too many: at most 1,024."),
        (WORK + "[[devices]]\ncount = 2000\n", "devices.count in row 1: input should be less than or equal to 1024, not 2000."),
        (WORK.replace("10", "true") + DEVICE, "work.forward_ms: input should be a valid number, not True."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_that_names_the_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(written(tmp_path, text))

    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.toml cannot be read as a network: .*No such file"):
        read(tmp_path / "none.toml")
