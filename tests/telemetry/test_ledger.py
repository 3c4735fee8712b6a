"""The account: what was fed, and who has not learnt from it."""

import json

import pytest

from decoupled.telemetry.ledger import SampleLedger
from decoupled.telemetry.ranges import Ranges

FED = Ranges([(0, 9), (12, 21)])  # two epochs, with an evaluation after each


def test_a_stage_has_missed_what_was_fed_and_it_did_not_train_on() -> None:
    account = SampleLedger(FED, (FED, Ranges([(0, 3), (8, 9), (13, 20)]), Ranges()))

    assert [list(account.missed(stage)) for stage in range(3)] == [[], [(4, 7), (12, 12), (21, 21)], [(0, 9), (12, 21)]]


@pytest.mark.parametrize("extra", [(10, 11), (22, 30)], ids=["an evaluation", "not fed any more"])
def test_what_was_not_fed_to_train_on_is_not_missed(extra: tuple[int, int]) -> None:
    """A stage may have learnt from microbatches that the feed was taken back from."""
    account = SampleLedger(FED, (Ranges([(0, 5), extra]),))

    assert list(account.missed(0)) == [(6, 9), (12, 21)]


def test_its_json_has_first_and_last_numbers_of_each_stretch() -> None:
    account = SampleLedger(FED, (FED, Ranges([(0, 9)])))

    assert json.loads(json.dumps(account.to_json())) == {
        "fed": [[0, 9], [12, 21]],
        "stages": [
            {"stage": 0, "trained": [[0, 9], [12, 21]], "missed": []},
            {"stage": 1, "trained": [[0, 9]], "missed": [[12, 21]]},
        ],
    }
