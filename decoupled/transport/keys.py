"""Keys: what a side proves itself with, and whose public keys it knows. They lie in folders, one to copy to each host.

DIR/coordinator/   coordinator.key_secret   coordinator.key   worker-0.key   worker-1.key   and so on
DIR/worker-0/      worker-0.key_secret      coordinator.key
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.auth

from decoupled.errors import UsageError

COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Keys:
    """A side's own pair of CURVE keys, and the public keys of the sides it knows, as text (Z85)."""

    public: str
    secret: str = field(repr=False)
    known: tuple[str, ...]  # a coordinator knows its workers, a worker its coordinator


def make(folder: Path, workers: int) -> None:
    """Makes keys for a coordinator and so many workers. Raises UsageError when the folder holds something or cannot be made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} already holds something. Choose another folder for the keys; these are never overwritten."
            )
        coordinator = _pair(folder / COORDINATOR)
        for number in range(workers):
            worker = _pair(folder / f"worker-{number}")
            shutil.copy(coordinator, worker.parent)
            worker.rename(coordinator.parent / worker.name)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}. Choose another folder for the keys.") from None


def passing(workers: int) -> tuple[Keys, list[Keys]]:
    """Keys that lie nowhere, for one run: its coordinator's, and those of so many workers."""
    pairs = [(public.decode(), secret.decode()) for public, secret in (zmq.curve_keypair() for _ in range(1 + workers))]
    (public, secret), *others = pairs
    return Keys(public, secret, tuple(own for own, _ in others)), [Keys(*own, (public,)) for own in others]


def _pair(folder: Path) -> Path:
    """Makes a folder that its owner alone can look into, with a pair of keys in it; gives the file of the public one."""
    folder.mkdir(mode=0o700)
    public, secret = zmq.auth.create_certificates(folder, folder.name)
    Path(secret).chmod(0o600)
    return Path(public)


def of_coordinator(folder: Path) -> Keys:
    """The coordinator's keys. Raises UsageError when the folder does not hold them."""
    secret = folder / f"{COORDINATOR}.key_secret"
    others = sorted(path for path in folder.glob("*.key") if path.stem != COORDINATOR)
    if not secret.exists() or not others:
        raise UsageError(
            f"{folder} is not the coordinator's folder of keys, which holds {secret.name} and a .key for each worker. "
            "Give the folder `coordinator` that `decoupled keys make` has made."
        )
    return Keys(*_own(secret), tuple(map(_public, others)))


def of_worker(folder: Path) -> Keys:
    """A worker's keys. Raises UsageError when the folder does not hold them."""
    secrets = [path for path in folder.glob("*.key_secret") if path.stem != COORDINATOR]
    coordinator = folder / f"{COORDINATOR}.key"
    if len(secrets) != 1 or not coordinator.exists():
        raise UsageError(
            f"{folder} is not a worker's folder of keys, which holds one worker's .key_secret and {coordinator.name}. "
            "Give a folder like `worker-0` that `decoupled keys make` has made."
        )
    return Keys(*_own(secrets[0]), (_public(coordinator),))


def _own(path: Path) -> tuple[str, str]:
    """The public and the secret key in a file that nobody else may read."""
    public, secret = _read(path)
    if path.stat().st_mode & 0o077:
        raise UsageError(f"{path} holds a secret key, and others can read it. Take that from them: chmod 600 {path}")
    if secret is None or zmq.curve_public(secret) != public:
        raise UsageError(f"{path} holds no pair of keys. Copy it anew from where the keys were made.")
    return public.decode(), secret.decode()


def _public(path: Path) -> str:
    public, secret = _read(path)
    if secret is not None:
        raise UsageError(f"{path} holds a secret key where a public one belongs. Remove it, and copy the right file there.")
    return public.decode()


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, public if secret is None else secret):
            zmq.curve_public(key)  # refuses what can be no key
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, zmq.ZMQError):
        raise UsageError(f"{path} is no file of keys. Copy it anew from where the keys were made.") from None
    return public, secret
