"""A source of a user's own: what is trained from batches is what is trained from the same arrays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoupled import data, user_code
from decoupled.config import Run
from decoupled.data.source import Batch
from decoupled.errors import RunFailed, UsageError
from decoupled.runtime.resolve import resolve
from decoupled.runtime.single import train_single
from decoupled.tensors import ArraySpec
from tests.cluster import Cluster
from tests.datasets import blobs

DATA = blobs()


class Own:
    """Samples that no array holds: they are made when they are asked for, here of arrays for comparison."""

    name, fingerprint = "own", "1"
    samples, test_samples = DATA.samples, DATA.test_samples
    x, y, targets, outputs, scaling = DATA.x, DATA.y, DATA.targets, DATA.outputs, DATA.scaling

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        return DATA.batches(batch, epoch, start, seed)

    def test_batches(self, batch: int, start: int) -> Iterator[Batch]:
        return DATA.test_batches(batch, start)


def test_a_source_trains_the_network_that_its_arrays_would() -> None:
    run = Run(data=Own(), hidden=(8,), epochs=2, batch=20, schedule="single")

    mine, theirs = (train_single(resolve(run, source), lambda progress: None) for source in (data.load(run.data), DATA))

    for name, array in theirs.network.arrays.items():
        np.testing.assert_array_equal(mine.network.arrays[name], array, err_msg=name)
    assert (mine.test_accuracy, mine.test_loss) == (theirs.test_accuracy, theirs.test_loss)
    assert mine.data == "source"


class Ending(Own):
    """One that has not as much as it says."""

    def batches(self, batch: int, epoch: int, start: int, seed: int) -> Iterator[Batch]:
        yield from list(super().batches(batch, epoch, start, seed))[:3]


def test_a_source_that_ends_early_ends_the_run_of_the_workers_too() -> None:
    run = Run(data=Ending(), hidden=(8,), epochs=2, batch=20)
    cluster = Cluster(run, data.load(run.data))

    with pytest.raises(RunFailed, match="own"):
        cluster.run()


class Varying(Own):
    x = ArraySpec("int64", (None,))


@pytest.mark.parametrize(
    ("source", "said"),
    [(object(), "data is"), (Varying(), "one length")],
    ids=["no source", "lengths that vary"],
)
def test_what_cannot_be_trained_on_is_refused(source: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve(Run(data=source), data.load(source))


def test_a_source_that_lacks_something_is_told_what() -> None:
    class Less:
        name = "less"

        def batches(self) -> None: ...

    with pytest.raises(UsageError, match="fingerprint"):
        data.load(Less())  # type: ignore[arg-type]


CODE = """
import numpy as np

def arrays(samples: int = 30):
    x = np.arange(samples * 4.0).reshape(samples, 2, 2)
    return {"x_train": x, "y_train": np.arange(samples) % 3, "x_test": x[:6], "y_test": np.arange(6) % 3}

class Nothing:
    pass

def pair():
    return 1, 2

def own():
    from tests.runtime.test_sources import Own
    return Own()
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my_data.py"
    path.write_text(CODE)
    monkeypatch.setattr(user_code, "_named", {})
    user_code.allow(str(path))
    return path


def test_a_function_of_the_users_gives_arrays_or_a_source(code: Path) -> None:
    assert data.load(f"{code}:arrays", options={"samples": 12}).samples == 12
    assert data.load(f"{code}:arrays").x == ArraySpec("float64", (2, 2))
    assert data.load(f"{code}:own").name == "own"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("arrays", {"samples": "many"}, "samples"),
        ("arrays", {"size": 3}, "no option size"),
        ("Nothing", {}, "dictionary of x_train.* or a data source"),
        ("pair", {}, "pair gave a tuple; give a dictionary"),
        ("others", {}, "others"),
    ],
)
def test_what_a_users_function_cannot_give_is_refused(code: Path, name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        data.load(f"{code}:{name}", options=options)


def test_named_data_take_options_too() -> None:
    assert data.load("addition", bits=4, options={"bits": 3}).outputs == 3
    with pytest.raises(UsageError, match="no option bits"):
        data.load("digits", options={"bits": 3})
