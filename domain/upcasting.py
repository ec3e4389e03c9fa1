"""Reads events as they were stored, of any version, into the classes of today."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from domain.catalogue import EVENTS
from domain.errors import UnreadableEvent
from domain.events import Event

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _grown(state: dict[str, Any]) -> dict[str, Any]:
    """The next version only has more fields, and their defaults are true of what was stored before."""
    return state


# (type, stored version) -> the step to the next version.
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    ("email.queued", 1): _grown,
    ("email.delivery_started", 1): _grown,
    ("email.delivery_started", 2): _grown,
    ("email.delivery_deferred", 1): _grown,
    ("email.requeued", 1): _grown,
    ("email.delivery_resolved", 1): _grown,
    ("email.recipient_delivered", 1): _grown,
    ("email.recipient_deferred", 1): _grown,
    ("email.recipient_delivery_failed", 1): _grown,
    ("email.recipient_suppressed", 1): _grown,
    ("email.recipient_opened", 1): _grown,
    ("email.recipient_clicked", 1): _grown,
    ("email.recipient_complained", 1): _grown,
    ("email.recipient_unsubscribed", 1): _grown,
}


class Catalogue:
    """Which class reads which stored topic, and by which steps an old state becomes a new one."""

    def __init__(
        self,
        events: Sequence[type[Event]] = EVENTS,
        upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
    ) -> None:
        self._classes = {event.TYPE: event for event in events}
        self._upcasters = upcasters

    def read(self, topic: str, state: dict[str, Any]) -> Event:
        """Build the event from its stored topic and state. Raises UnreadableEvent, naming the topic, never the data."""
        type_, _, version = topic.rpartition(".v")
        try:
            cls = self._classes[type_]
            for step in range(int(version), cls.VERSION):
                state = self._upcasters[type_, step](state)
            return cls.model_validate(state)
        except KeyError:
            raise UnreadableEvent(f"No class or upcaster reads the topic {topic!r}.") from None
        except ValueError:
            raise UnreadableEvent(f"A stored state of {topic!r} does not fit its class.") from None
