"""Turns domain events into stored ones and back: pydantic JSON under stable topics, old versions upcast."""

from uuid import UUID

from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from pydantic_core import from_json

from domain.errors import UnreadableEvent
from domain.events import Event
from domain.upcasting import Catalogue

_KEYS = {"originator_id", "originator_version"}  # columns of their own; not stored a second time


class EventMapper(Mapper[UUID]):
    """The library's mapper for events that are pydantic models.

    Its own takes topics from module paths and bypasses validation; its documented pydantic variant skips upcasting.
    """

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        super().__init__(JSONTranscoder())
        self._catalogue = catalogue or Catalogue()

    def to_stored_event(self, domain_event: Event) -> StoredEvent:  # type: ignore[override]  # ours are pydantic models
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=domain_event.topic(),
            state=type(domain_event).__pydantic_serializer__.to_json(domain_event, exclude=_KEYS),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Event:
        """Raises UnreadableEvent, naming stream and version, never the data."""
        try:
            state = from_json(stored_event.state)
            state["originator_id"] = stored_event.originator_id
            state["originator_version"] = stored_event.originator_version
            return self._catalogue.read(stored_event.topic, state)
        except (UnreadableEvent, ValueError, TypeError) as error:
            reason = str(error) if isinstance(error, UnreadableEvent) else "Its state is not JSON."
            where = f"{stored_event.originator_id} version {stored_event.originator_version}"
            raise UnreadableEvent(f"Stream {where}: {reason}") from None
