"""The comparison with another commit: what its table says."""

from tests.throughput import HEAD, Pair


def test_ratios_are_taken_round_by_round() -> None:
    """The machine was half as fast in the second round, for both trees."""
    row = Pair("dni", 256, now=[2000, 1050, 1900], before=[1000, 500, 1000]).row()

    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["dni", "256", "1,900", "1,000", "2.000", "1.900-2.100"]
    assert row.count("|") == HEAD.splitlines()[0].count("|")
