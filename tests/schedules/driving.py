"""Telling a schedule what happened, and hearing what it does."""

from decoupled.schedules.events import Event
from decoupled.schedules.interface import Schedule


def tell(schedule: Schedule, *events: Event) -> Schedule:
    for event in events:
        schedule.receive(event)
    return schedule


def drain(schedule: Schedule) -> str:
    """All that the schedule does before it waits, in short form."""
    actions = []
    while (action := schedule.next_action()) is not None:
        actions.append(str(action))
    return " ".join(actions)
