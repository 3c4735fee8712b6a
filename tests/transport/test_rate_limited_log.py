"""The log that strangers cannot flood; the clock is the test's."""

from decoupled.transport.rate_limited_log import RateLimitedLog


class Log:
    """The log with its clock and what it has said."""

    def __init__(self) -> None:
        self.now, self.said = 50.0, list[str]()
        self.log = RateLimitedLog(self.said.append, every_s=1.0, clock=lambda: self.now)


def test_the_first_line_is_said_at_once() -> None:
    log = Log()

    log.log.add("one")

    assert log.said == ["one"]


def test_a_flood_is_one_line_a_second_with_the_number_of_the_others() -> None:
    log = Log()

    for _ in range(10):
        for number in range(100):
            log.log.add(f"line {number}")
        log.now += 0.5
        log.log.tell()

    counted = [198, 199, 199, 199, 199]
    assert log.said == ["line 0", *(f"line 99 ({more} more since the last line)" for more in counted)]
    assert len(log.said) + sum(counted) == 1000


def test_lines_that_are_far_enough_apart_are_all_said() -> None:
    log = Log()

    for number in range(3):
        log.log.add(f"line {number}")
        log.now += 1.0
        log.log.tell()

    assert log.said == ["line 0", "line 1", "line 2"]
