"""Downloads: files of known contents, fetched once and kept in the user's cache."""

import textwrap
from pathlib import Path

from decoupled.errors import UsageError


def download(dataset: str, url: str, known_hash: str, instead: str) -> Path:
    """The file at that address, whose hash is checked; it is fetched where it is not there yet.

    Raises UsageError with what to do `instead` where it cannot be had.
    """
    import pooch  # here, because only those who download need it

    try:
        return Path(
            pooch.retrieve(
                url=url,
                known_hash=known_hash,
                fname=url.rsplit("/", 1)[-1],
                path=pooch.os_cache("decoupled") / dataset,
                progressbar=False,
            )
        )
    except (OSError, ValueError) as error:  # no network, or a wrong checksum
        reason = textwrap.shorten(str(error), 150, placeholder=" ...")
        raise UsageError(f"{dataset} could not be downloaded ({reason}). {instead}") from None
