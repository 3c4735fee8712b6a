"""Folders of keys: what is made, who may read it, and one sentence for each way in which they can be wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from decoupled.errors import UsageError
from decoupled.transport.keys import make, of_coordinator, of_worker, passing


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make(tmp_path / "keys", 3)
    return tmp_path / "keys"


def test_every_folder_holds_a_pair_and_the_public_keys_that_its_owner_must_know(made: Path) -> None:
    coordinator, workers = of_coordinator(made / "coordinator"), [of_worker(made / f"worker-{number}") for number in range(3)]

    assert coordinator.known == tuple(worker.public for worker in workers)
    assert all(worker.known == (coordinator.public,) for worker in workers)
    assert len({key for side in (coordinator, *workers) for key in (side.public, side.secret)}) == 8


def test_nobody_else_can_read_what_is_made_and_each_secret_lies_in_one_place(made: Path) -> None:
    secrets = sorted(path.relative_to(made).as_posix() for path in made.rglob("*.key_secret"))

    assert secrets == ["coordinator/coordinator.key_secret", *(f"worker-{n}/worker-{n}.key_secret" for n in range(3))]
    assert all((made / path).stat().st_mode & 0o777 == 0o600 for path in secrets)
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in (made, *made.iterdir()))


def test_a_folder_that_holds_something_is_left_as_it_is(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*.key*")}

    with pytest.raises(UsageError, match="already holds something"):
        make(made, 1)

    assert {path: path.read_bytes() for path in made.rglob("*.key*")} == before


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match=r"cannot be made: .*Choose another folder"):
        make(tmp_path / "file" / "keys", 1)


def test_secrets_are_not_shown(made: Path) -> None:
    keys = of_worker(made / "worker-0")

    assert keys.secret not in repr(keys)


def test_a_worker_may_be_added_by_its_public_key_under_any_name(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "more", 1)
    shutil.copy(tmp_path / "more" / "coordinator" / "worker-0.key", made / "coordinator" / "of-another-host.key")

    assert of_worker(tmp_path / "more" / "worker-0").public in of_coordinator(made / "coordinator").known


def spoil_none(made: Path) -> Path:
    return made / "no-such-folder"


def spoil_kind(made: Path) -> Path:
    return made / "worker-0"


def spoil_whole(made: Path) -> Path:
    return made


def spoil_others(made: Path) -> Path:
    for path in (made / "coordinator").glob("worker-*"):
        path.unlink()
    return made / "coordinator"


@pytest.mark.parametrize("spoil", [spoil_none, spoil_kind, spoil_whole, spoil_others])
def test_what_is_not_the_coordinators_folder_is_one_sentence(spoil: Callable[[Path], Path], made: Path) -> None:
    folder = spoil(made)

    with pytest.raises(UsageError, match=r"^\S+ is not the coordinator's folder of keys, which holds .*\.$") as refusal:
        of_coordinator(folder)

    assert str(refusal.value).startswith(str(folder))


@pytest.mark.parametrize("name", ["no-such-folder", "coordinator", ".", "without-coordinator", "two-workers"])
def test_what_is_not_a_workers_folder_is_one_sentence(name: str, made: Path) -> None:
    shutil.copytree(made / "worker-0", made / "without-coordinator")
    (made / "without-coordinator" / "coordinator.key").unlink()
    shutil.copytree(made / "worker-0", made / "two-workers")
    shutil.copy(made / "worker-1" / "worker-1.key_secret", made / "two-workers")

    with pytest.raises(UsageError, match=r"^\S+ is not a worker's folder of keys, which holds .*\.$"):
        of_worker(made / name)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o620])
def test_a_secret_that_others_can_reach_is_refused(mode: int, made: Path) -> None:
    (made / "worker-0" / "worker-0.key_secret").chmod(mode)

    with pytest.raises(UsageError, match=r"others can read it.* chmod 600 \S+worker-0\.key_secret$"):
        of_worker(made / "worker-0")


GOOD = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # the public key of the example in libzmq's documentation
KEY_FILE = 'metadata\ncurve\n    public-key = "{}"\n    secret-key = "{}"\n'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe" * 50,
        b"public-key = short",
        KEY_FILE.format(GOOD, "").encode(),
        KEY_FILE.format("~" * 40, GOOD).encode(),
    ],
)
@pytest.mark.parametrize("name", ["worker-0.key_secret", "coordinator.key"])
def test_a_corrupt_file_is_one_sentence(content: bytes, name: str, made: Path) -> None:
    (made / "worker-0" / name).write_bytes(content)

    with pytest.raises(UsageError) as refusal:
        of_worker(made / "worker-0")

    assert str(refusal.value).startswith(f"{made / 'worker-0' / name} ")
    assert "\n" not in str(refusal.value)


def test_a_secret_that_does_not_belong_to_its_public_key_is_refused(made: Path) -> None:
    other = of_worker(made / "worker-1")
    (made / "worker-0" / "worker-0.key_secret").write_text(KEY_FILE.format(GOOD, other.secret))

    with pytest.raises(UsageError, match="holds no pair of keys"):
        of_worker(made / "worker-0")


def test_a_secret_where_a_public_key_belongs_is_refused(made: Path) -> None:
    shutil.copy(made / "worker-0" / "worker-0.key_secret", made / "coordinator" / "worker-0.key")

    with pytest.raises(UsageError, match="holds a secret key where a public one belongs"):
        of_coordinator(made / "coordinator")


def test_a_folder_in_the_place_of_a_file_is_one_sentence(made: Path) -> None:
    (made / "worker-0" / "coordinator.key").unlink()
    (made / "worker-0" / "coordinator.key").mkdir()

    with pytest.raises(UsageError, match="cannot be read"):
        of_worker(made / "worker-0")


def test_passing_keys_are_pairs_of_their_own_that_know_one_another() -> None:
    coordinator, workers = passing(3)

    assert coordinator.known == tuple(worker.public for worker in workers)
    assert all(worker.known == (coordinator.public,) for worker in workers)
    assert len({coordinator.secret, *(worker.secret for worker in workers)}) == 4
    for keys in (coordinator, *workers):
        assert zmq.curve_public(keys.secret.encode()).decode() == keys.public
