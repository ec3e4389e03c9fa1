"""The thread from causes to effects: upwards from an event to what began it, downwards to all that came of it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.catalogue import EVENTS
from domain.personal import personal_fields
from infrastructure.bootstrap import System
from projections.audit_log import AuditEntry, by_event, correlated, effects, of_stream

MOST = 500  # events in a thread
_WRITTEN = frozenset(event.TYPE for event in EVENTS if "reason" in personal_fields(event))


@dataclass(slots=True)
class Node:
    """An event, or what a provider delivered, and what came of it."""

    entry: AuditEntry | None
    words: str | None = field(default=None, repr=False)  # the reason as somebody wrote it
    delivery: UUID | None = None
    provider: str | None = None  # None: the delivery is not kept any more
    effects: list["Node"] = field(default_factory=list)


@dataclass(slots=True)
class Thread:
    """What is to be told about an id. `begun_by`: the first event of the same beginning, where it is not among them."""

    id: UUID
    roots: list[Node]
    begun_by: AuditEntry | None
    cut: bool


async def follow_thread(system: System, id: UUID) -> Thread | None:
    """The thread of an event, a stream, a delivery or a request. None when there is no such thing."""
    seeds = await _seeds(system, id)
    if not seeds:
        return None
    found = await _causes(system, await _effects(system, seeds))
    roots = _forest(found.values(), await _words(system, found.values()))
    first = (await system.database.ask(correlated, seeds[0].correlation_id, 1))[0]
    begun_by = first if first.event_id not in found else None
    return Thread(id, await _under_deliveries(system, roots), begun_by, len(found) >= MOST)


async def _seeds(system: System, id: UUID) -> Sequence[AuditEntry]:
    if found := await system.database.ask(by_event, [id]):
        return [await _origin(system, found[0])]
    for look in (of_stream, correlated):
        if found := await system.database.ask(look, id, MOST):
            return found
    return await system.database.ask(effects, [id], MOST)


async def _origin(system: System, entry: AuditEntry) -> AuditEntry:
    """The event at the top: one that no event led to."""
    seen = {entry.event_id}
    while entry.causation_id and entry.causation_id not in seen:
        causes = await system.database.ask(by_event, [entry.causation_id])
        if not causes:
            break
        entry = causes[0]
        seen.add(entry.event_id)
    return entry


async def _effects(system: System, seeds: Sequence[AuditEntry]) -> dict[UUID, AuditEntry]:
    found = {entry.event_id: entry for entry in seeds}
    new: Collection[UUID] = list(found)
    while new and len(found) < MOST:
        led_to = await system.database.ask(effects, new, MOST - len(found))
        new = [entry.event_id for entry in led_to if entry.event_id not in found]
        found |= {entry.event_id: entry for entry in led_to}
    return found


async def _causes(system: System, found: dict[UUID, AuditEntry]) -> dict[UUID, AuditEntry]:
    """With the events that led to those found, and what led to these."""
    new: Collection[AuditEntry] = list(found.values())
    while missing := {entry.causation_id for entry in new if entry.causation_id} - found.keys():
        new = await system.database.ask(by_event, missing)
        found |= {entry.event_id: entry for entry in new}
    return found


def _forest(entries: Iterable[AuditEntry], words: Mapping[UUID, str]) -> list[Node]:
    nodes = {e.event_id: Node(e, words.get(e.event_id)) for e in sorted(entries, key=lambda entry: entry.position)}
    roots: list[Node] = []
    for node in nodes.values():
        cause = nodes.get(node.entry.causation_id) if node.entry and node.entry.causation_id else None
        (cause.effects if cause else roots).append(node)
    return roots


async def _under_deliveries(system: System, roots: Sequence[Node]) -> list[Node]:
    """What no event here led to stands under the delivery of a provider that did."""
    placed: list[Node] = []
    deliveries: defaultdict[UUID, list[Node]] = defaultdict(list)
    for node in roots:
        cause = node.entry.causation_id if node.entry else None
        if cause is None:
            placed.append(node)
            continue
        if cause not in deliveries:
            kept = await system.inbox.get(cause)
            provider = kept.entry.provider if kept else None
            placed.append(Node(None, delivery=cause, provider=provider, effects=deliveries[cause]))
        deliveries[cause].append(node)
    return placed


async def _words(system: System, entries: Iterable[AuditEntry]) -> dict[UUID, str]:
    """The reasons that people wrote, which are in the log alone."""
    streams = {entry.stream_id for entry in entries if entry.type in _WRITTEN}
    histories = [await system.ledger.load(id) for id in streams]
    events = [recorded.event for history in histories for recorded in history]
    return {event.event_id: reason for event in events if (reason := getattr(event, "reason", None))}
