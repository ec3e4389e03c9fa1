"""What a verification finds: each difference, and where it is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from infrastructure.audit.chain import Stored, leaf

Kind = Literal["altered", "removed", "inserted", "moved", "hole", "chain", "checkpoint"]
_VERSIONS = 9  # of a topic, that a type of the index is tried with
_MOST_MOVES = 200  # of each side that are compared with one another


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `position` None: it is about a stream as a whole, or the whole log."""

    kind: Kind
    position: int | None
    what: str
    stream: str | None = None  # a UUID without hyphens, as it is stored
    version: int | None = None
    topic: str | None = None
    fields: tuple[str, ...] = ()  # of an altered event: what of it is another

    def as_document(self) -> dict[str, Any]:
        about = {"stream": self.stream, "version": self.version, "topic": self.topic, "fields": list(self.fields)}
        return {"kind": self.kind, "position": self.position, **about, "what": self.what}


@dataclass(frozen=True, slots=True)
class Hint:
    """What the read model `audit` says about a position. It is no proof: it may have been changed as well."""

    stream: str
    version: int
    type: str

    @property
    def topics(self) -> list[str]:
        return [f"{self.type}.v{number}" for number in range(1, _VERSIONS + 1)]


@dataclass(slots=True)
class Difference:
    """A position at which what is stored is not what was chained. One of the two may be missing."""

    position: int
    stored: Stored | None
    chained: bytes | None  # the leaf
    hint: Hint | None = None


@dataclass(slots=True)
class Differences:
    """The first of them; the rest is only counted."""

    most: int
    found: list[Difference] = field(default_factory=list)
    more: int = 0

    def add(self, difference: Difference) -> None:
        if len(self.found) < self.most:
            self.found.append(difference)
        else:
            self.more += 1


def explain(differences: Sequence[Difference], hints: Mapping[int, Hint]) -> Iterator[Finding]:
    """What each difference is: events that only changed places are found out, and what of an event was altered."""
    origins = _origins(differences)
    elsewhere = set(origins.values())
    for each in differences:
        each.hint = hints.get(each.position)
        came, went = origins.get(each.position), each.position in elsewhere
        if each.stored is not None:
            yield _there(each, each.stored, came, went)
        if each.chained is not None and not went and (each.stored is None or came is not None):
            yield _removed(each)


def _there(difference: Difference, stored: Stored, came: int | None, went: bool) -> Finding:
    """About an event that stands where it should not, or not like this."""
    if came is not None:
        return _about(stored, "moved", f"It stood at position {came}.")
    if difference.chained is None:
        return _about(stored, "inserted", "It is in no block: it was put in later than the events behind it.")
    if went:
        return _about(stored, "inserted", "The event that was here stands elsewhere now.")
    return _altered(difference, stored, difference.chained)


def _origins(differences: Sequence[Difference]) -> dict[int, int]:
    """Where an event that stands at a wrong position stood when it was chained."""
    wrong = [each.stored for each in differences if each.stored][:_MOST_MOVES]
    missing = [(each.position, each.chained) for each in differences if each.chained][:_MOST_MOVES]
    return {
        stored.position: position
        for stored in wrong
        for position, chained in missing
        if position != stored.position and leaf(stored.at(position)) == chained
    }


def _removed(difference: Difference) -> Finding:
    hint = difference.hint
    if hint is None:
        return Finding("removed", difference.position, "An event stood here. The read model audit knows nothing of it.")
    what = "An event stood here; which one, the read model audit says."
    return Finding("removed", difference.position, what, hint.stream, hint.version, hint.type)


def _altered(difference: Difference, stored: Stored, chained: bytes) -> Finding:
    found = _about(stored, "altered", "It is not what was stored first.")
    if stored.odd:
        return replace(found, fields=("types",), what="Its columns hold other types than the ledger writes.")
    if difference.hint is None:
        return found
    before = _before(stored, chained, difference.hint)
    if before is None:
        return replace(found, fields=("state",), what="Its state, at least, is not what was stored first.")
    names = ("stream", "version", "topic")
    changed = tuple(name for name in names if getattr(stored, name) != getattr(before, name))
    was = ", ".join(f"{name} was {getattr(before, name).decode()}" for name in changed)
    return replace(found, fields=changed, what=f"Its {was}; the rest is as it was.")


def _before(stored: Stored, chained: bytes, hint: Hint) -> Stored | None:
    """The event that was chained, if only its stream, version or topic was changed, and the index knows these."""
    for topic in (stored.topic, *(topic.encode() for topic in hint.topics)):
        for stream in (stored.stream, hint.stream.encode()):
            for version in (stored.version, b"%d" % hint.version):
                tried = stored._replace(stream=stream, version=version, topic=topic)
                if leaf(tried) == chained:
                    return tried
    return None


def _about(stored: Stored, kind: Kind, what: str) -> Finding:
    version = int(stored.version) if stored.version.isdigit() else None
    stream, topic = (_plain(part) for part in (stored.stream, stored.topic))
    return Finding(kind, stored.position, what, stream, version, topic)


def _plain(part: bytes) -> str:
    """What somebody put in place of an id or a topic may be anything, and of any length."""
    return part.decode(errors="replace")[:100]


def holes(streams: Collection[tuple[str, Sequence[int]]]) -> Iterator[Finding]:
    """About streams whose versions are not 1 to n."""
    for stream, missing in streams:
        said = ", ".join(map(str, missing)) or "none up to their number"
        yield Finding("hole", None, f"Versions missing: {said}.", stream, missing[0] if missing else None)
