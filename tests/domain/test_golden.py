"""Everything ever stored stays readable: one stored sample of every event version, never to be edited, only added to.

A line is added with `python -m tests.domain.test_golden`, which writes samples for topics that have none.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from domain.catalogue import EVENTS
from domain.events import Event, RecipientEvent, is_about_recipient
from infrastructure.ledger.mapper import EventMapper
from tests.domain.event_samples import full, sparse

GOLDEN = Path(__file__).parent / "golden" / "events.jsonl"
STREAM = UUID(int=7)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def stored(line: dict[str, Any]) -> StoredEvent:
    state = json.dumps(line["state"]).encode()
    return StoredEvent(originator_id=STREAM, originator_version=1, topic=line["topic"], state=state)


@pytest.mark.parametrize("line", lines(), ids=lambda line: f"{line['topic']}-{line['sample']}")
def test_every_stored_version_is_read_and_the_present_ones_are_stored_as_before(line: dict[str, Any]) -> None:
    event = EventMapper().to_domain_event(stored(line))
    again = EventMapper().to_stored_event(event)
    assert again.topic.rpartition(".v")[0] == line["topic"].rpartition(".v")[0]
    if again.topic == line["topic"]:
        assert json.loads(again.state) == line["state"]


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_a_full_and_a_sparse_golden_sample(event: type[Event]) -> None:
    assert {line["sample"] for line in lines() if line["topic"] == event.topic()} == {"full", "sparse"}


@pytest.mark.parametrize("event", EVENTS)
def test_a_full_sample_has_every_field_of_its_event(event: type[Event]) -> None:
    (line,) = [line for line in lines() if (line["topic"], line["sample"]) == (event.topic(), "full")]
    assert set(line["state"]) | {"originator_id", "originator_version"} == set(event.model_fields)
    assert [name for name, value in line["state"].items() if value in (None, [], {})] == []


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_about_a_recipient_is_told_by_its_kind(event: type[Event]) -> None:
    assert is_about_recipient(event.__new__(event)) == issubclass(event, RecipientEvent)


def test_no_topic_is_used_twice() -> None:
    assert len({event.TYPE for event in EVENTS}) == len(EVENTS)


def missing() -> Iterable[str]:
    known = {(line["topic"], line["sample"]) for line in lines()} if GOLDEN.exists() else set()
    for cls in EVENTS:
        for sample, make in (("full", full), ("sparse", sparse)):
            if (cls.topic(), sample) not in known:
                state = json.loads(EventMapper().to_stored_event(make(cls)).state)
                yield json.dumps({"topic": cls.topic(), "sample": sample, "state": state}, ensure_ascii=False)


if __name__ == "__main__":
    new = list(missing())
    with GOLDEN.open("a") as golden:
        golden.writelines(f"{line}\n" for line in new)
