"""The charting library that is shipped with the page."""

import hashlib
import re

from decoupled.watch.application import PAGE


def test_the_charting_library_is_the_one_that_was_published() -> None:
    sums = re.findall(r"^([0-9a-f]{64})  (\S+)$", (PAGE / "vendor" / "README.md").read_text(), re.MULTILINE)

    assert {file for _, file in sums} == {path.name for path in (PAGE / "vendor").iterdir()} - {"README.md"}
    for expected, file in sums:
        assert hashlib.sha256((PAGE / "vendor" / file).read_bytes()).hexdigest() == expected, file
