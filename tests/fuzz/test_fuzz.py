"""A few seconds of search on every change; `python -m tests.fuzz` goes on for longer."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoupled.wire.codec import decode
from tests.fuzz import codec, rendezvous
from tests.fuzz.forge import Choices, value
from tests.fuzz.originals import originals
from tests.wire.frames import as_sent, header

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine")
@pytest.mark.parametrize(("target", "runs"), [("codec", 5_000), ("rendezvous", 50)])
def test_a_search_guided_by_coverage_finds_nothing(target: str, runs: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz", target, "--runs", str(runs), "--seed", "1"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr[-4000:]
    ran = re.search(r"Done (\d+) runs", done.stderr)
    assert ran is not None
    assert int(ran[1]) >= runs


@given(st.binary(max_size=200))
def test_any_frames_are_a_message_or_refused(data: bytes) -> None:
    codec.one_input(data)


@given(st.binary(max_size=60))
def test_any_body_comes_back(data: bytes) -> None:
    body = {"body": value(Choices(data))}

    came = decode([header(body=body)]).body

    assert repr(came) == repr(body), "nan too"


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, about what hostile numbers come to
def test_strangers_change_nothing(data: bytes) -> None:
    rendezvous.strangers(Choices(data))


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_members_end_a_run_with_a_sentence_or_not_at_all(data: bytes) -> None:
    rendezvous.members(Choices(data))


def test_the_fuzzers_begin_with_a_message_of_every_kind() -> None:
    kinds = {message.kind for message in originals()}

    assert {decode(as_sent(message)).kind for message in originals()} == kinds
    assert all(any(kind.value.encode() in seed for seed in codec.seeds()) for kind in kinds)
