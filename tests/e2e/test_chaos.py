"""Everything goes wrong at once, and a run ends as it should."""

from pathlib import Path

import pytest

from tests.chaos import SAMPLES, STAGES, chaos


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_survives_chaos_and_accounts_for_every_sample(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, cycles=1, cycle_s=25, seed=0)

    report, fed = outcome.report, outcome.epochs * SAMPLES
    assert outcome.kills == [1] * STAGES
    assert outcome.coordinators == 2
    assert outcome.warnings >= 1, "the disk was full for a while"
    assert report["test_accuracy"] >= outcome.quiet_accuracy - 0.01
    assert [worker["samples"] + worker["samples_missed"] for worker in report["workers_detail"]] == [fed] * STAGES
    for stage, worker in zip(outcome.account["stages"], report["workers_detail"], strict=True):
        listed = sum(last - first + 1 for first, last in stage["missed"])
        assert listed == worker["missed"]
    assert outcome.orphans == 0
    assert outcome.growth < 1.15
