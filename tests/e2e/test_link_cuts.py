"""A link that is cut between two living workers, on real sockets, costs neither checkpoints nor evaluations nor the run."""

from pathlib import Path

import pytest

from tests.link_cuts import PLANS, Cut, Plan, carry_out


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.overflow}-{'evaluations' if plan.evaluates else 'training'}")
def test_a_run_outlives_cuts_of_every_link_for_every_time(plan: Plan, tmp_path: Path) -> None:
    """After each, a checkpoint appears before the run ends; at the end nothing is missing, and no worker was replaced."""
    carry_out(plan, tmp_path, seed=0)


def test_a_run_outlives_a_cut_while_an_evaluation_is_under_way(tmp_path: Path) -> None:
    carry_out(Plan("latest", True, [Cut(1, 0.5)]), tmp_path, seed=0)
