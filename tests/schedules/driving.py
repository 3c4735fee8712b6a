"""Telling a schedule what happened, and hearing what it does."""

from collections.abc import Callable

from decoupled.schedules.catalogue import Settings, make
from decoupled.schedules.events import ActivationArrived, Event
from decoupled.schedules.interface import Place, Schedule


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


def arrivals(*microbatches: int) -> list[Event]:
    return [ActivationArrived(m) for m in microbatches]


def named(name: str) -> Callable[[Place], Schedule]:
    return lambda place: make(name, place, Settings())
