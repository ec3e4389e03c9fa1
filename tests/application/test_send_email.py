"""SendEmail on a real ledger: one append accepts, and each key stands for exactly one email."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from application.commands import SendEmail
from application.errors import ApplicationError, IdempotencyConflict, InvalidField
from tests.application.desk import ACME, GLOBEX, Desk, at_the_desk, command
from tests.samples import NOW

FILE = {"filename": "a.txt", "content": "aGVsbG8="}


def test_what_was_sent_is_what_is_stored(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        said: dict[str, Any] = {"cc": "Bob <bob@EXAMPLE.com>", "html": "<p>", "headers": {"X-A": "b"}}
        receipt = await desk.send(command(**said, tags=[{"name": "a", "value": "b"}], attachments=[FILE]), ACME)
        queued = await desk.queued(receipt.id)
        assert (queued.tenant, queued.fingerprint, receipt.replayed) == ("acme", None, False)
        assert [(r.kind, r.address, r.name) for r in queued.recipients] == [
            ("to", "ada@example.com", ""),
            ("cc", "bob@example.com", "Bob"),
        ]
        content = await desk.ledger.load_content(receipt.id)
        assert content is not None
        assert (content.html, content.text, content.headers) == ("<p>", "Hello", {"X-A": "b"})
        assert queued.content.sha256 == hashlib.sha256(content.encode()).hexdigest()
        (attachment,) = queued.attachments
        assert (attachment.size, attachment.content_type) == (5, "text/plain")
        assert await desk.blobs.get(attachment.sha256) == b"hello"
        assert await desk.ledger.blobs_in_use([attachment.sha256]) == {attachment.sha256}
        assert receipt.position == await desk.ledger.position()

    at_the_desk(tmp_path, scenario)


def test_a_person_named_twice_gets_it_once(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        receipt = await desk.send(command(to=["ada@example.com", "Ada <ADA@example.COM>"], bcc="ada@example.com"), ACME)
        assert [r.kind for r in (await desk.queued(receipt.id)).recipients] == ["to"]

    at_the_desk(tmp_path, scenario)


def test_a_repeated_key_gets_the_first_answer_for_every_spelling_of_the_same_command(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        first = await desk.send(command(scheduled_at="2026-03-02T12:00:00Z"), ACME, "k")
        desk.now += timedelta(days=40)
        spelt = command(
            to="ada@EXAMPLE.com", cc=[], tags=[], priority="normal", scheduled_at="2026-03-02T13:00:00+01:00"
        )
        again = await desk.send(spelt, ACME, "k")
        assert (again.id, again.position, again.replayed) == (first.id, first.position, True)
        assert await desk.emails() == 1

    at_the_desk(tmp_path, scenario)


def test_the_order_of_names_does_not_make_another_command(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.send(command(metadata={"a": "1", "b": "2"}), ACME, "k")
        assert (await desk.send(command(metadata={"b": "2", "a": "1"}), ACME, "k")).replayed

    at_the_desk(tmp_path, scenario)


def test_a_repeated_key_gets_the_first_answer_even_when_its_times_have_passed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        short_lived = command(expires_at="2026-03-01T13:00:00Z")
        first = await desk.send(short_lived, ACME, "k")
        desk.now += timedelta(days=1)
        assert (await desk.send(short_lived, ACME, "k")).id == first.id
        with pytest.raises(InvalidField):
            await desk.send(short_lived, ACME, "another key")

    at_the_desk(tmp_path, scenario)


@pytest.mark.parametrize("other", [{"subject": "Bye"}, {"attachments": [FILE]}, {"to": "bob@example.com"}])
def test_another_command_under_the_same_key_is_a_conflict(tmp_path: Path, other: dict[str, Any]) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.send(command(), ACME, "k")
        with pytest.raises(IdempotencyConflict):
            await desk.send(command(**other), ACME, "k")
        assert await desk.emails() == 1

    at_the_desk(tmp_path, scenario)


def test_a_key_belongs_to_its_tenant(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        receipts = [await desk.send(command(), caller, "k") for caller in (ACME, GLOBEX)]
        assert len({receipt.id for receipt in receipts}) == 2
        assert [receipt.replayed for receipt in receipts] == [False, False]

    at_the_desk(tmp_path, scenario)


def test_without_a_key_every_command_is_a_new_email(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        receipts = [await desk.send(command(), ACME) for _ in range(3)]
        assert len({receipt.id for receipt in receipts}) == 3

    at_the_desk(tmp_path, scenario)


def test_twenty_racers_with_one_key_make_one_email(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        receipts = await asyncio.gather(*(desk.send(command(), ACME, "k") for _ in range(20)))
        assert len({(receipt.id, receipt.position) for receipt in receipts}) == 1
        assert [receipt.replayed for receipt in receipts].count(False) == 1
        assert await desk.emails() == 1

    at_the_desk(tmp_path, scenario)


def test_a_batch_and_its_repetition_under_one_key(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        batch = [command(subject=str(number)) for number in range(3)]
        first = await desk.send.batch(batch, ACME, "k")
        assert await desk.emails() == 3
        again = await desk.send.batch(batch, ACME, "k")
        assert [receipt.id for receipt in again] == [receipt.id for receipt in first]
        assert all(receipt.replayed for receipt in again)
        for other in (batch[:2], batch[::-1], [*batch, command()]):
            with pytest.raises(IdempotencyConflict):
                await desk.send.batch(other, ACME, "k")
        with pytest.raises(IdempotencyConflict):
            await desk.send(batch[0], ACME, "k")
        assert await desk.emails() == 3

    at_the_desk(tmp_path, scenario)


def test_a_batch_under_the_key_of_a_single_email_is_a_conflict_and_accepts_nothing(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.send(command(), ACME, "k")
        with pytest.raises(IdempotencyConflict):
            await desk.send.batch([command(), command(subject="two")], ACME, "k")
        assert await desk.emails() == 1

    at_the_desk(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"scheduled_at": "2026-04-01T12:00:00Z"}, "scheduled_at"),
        ({"scheduled_at": "in 31 days"}, "scheduled_at"),
        ({"expires_at": "2026-03-01T12:00:00Z"}, "expires_at"),
        ({"expires_at": "in 1 hour", "scheduled_at": "in 2 hours"}, "expires_at"),
        ({"expires_at": "in 1 hour", "scheduled_at": "in 1 hour"}, "expires_at"),
    ],
)
def test_impossible_times_are_refused_by_field(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    async def scenario(desk: Desk) -> None:
        with pytest.raises(InvalidField) as caught:
            await desk.send(command(**fields), ACME, "k")
        assert caught.value.field == named
        assert await desk.emails() == 0
        await desk.send(command(), ACME, "k")  # what was refused has not used the key up

    at_the_desk(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fields", "send_at", "expires_at"),
    [
        ({"scheduled_at": "in 30 days"}, timedelta(days=30), None),
        ({"scheduled_at": "2026-02-01T12:00:00Z"}, None, None),
        ({"scheduled_at": "in 5 min", "expires_at": "in 1 hour"}, timedelta(minutes=5), timedelta(hours=1)),
    ],
)
def test_possible_times_are_kept(
    tmp_path: Path, fields: dict[str, Any], send_at: timedelta | None, expires_at: timedelta | None
) -> None:
    async def scenario(desk: Desk) -> None:
        queued = await desk.queued((await desk.send(command(**fields), ACME)).id)
        assert queued.send_at == (None if send_at is None else NOW + send_at)
        assert queued.expires_at == (None if expires_at is None else NOW + expires_at)

    at_the_desk(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"attachments": [FILE, {"filename": "b", "content": "?"}]}, ("attachments", 1, "content")),
        ({"attachments": [{"filename": "b", "content": "aGVsbG8"}]}, ("attachments", 0, "content")),
        ({"to": [f"a{number}@example.com" for number in range(51)]}, ()),
        ({"to": []}, ("to",)),
        ({"to": ["ada@example.com", "ada"]}, ("to", 1)),
        ({"subject": "a\r\nBcc: eve@example.com"}, ("subject",)),
        ({"subject": "x" * 999}, ("subject",)),
        ({"headers": {"X-A": "b\r\nBcc: eve@example.com"}}, ("headers",)),
        ({"headers": {"Bcc": "eve@example.com"}}, ("headers",)),
        ({"text": None}, ()),
        ({"surprise": 1}, ("surprise",)),
        ({"scheduled_at": "tomorrow"}, ("scheduled_at",)),
        ({"attachments": [{"filename": "big", "content": "AAAA" * (14 << 20)}]}, ()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_command_over_a_limit_is_refused_by_field(fields: dict[str, Any], place: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        command(**fields)
    assert place in [error["loc"] for error in caught.value.errors()]


def test_a_store_that_is_away_accepts_nothing(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        (tmp_path / "blobs").write_text("a file where the directory should be")
        with pytest.raises(ApplicationError):
            await desk.send(command(attachments=[FILE]), ACME, "k")
        assert await desk.emails() == 0

    at_the_desk(tmp_path, scenario)


def test_every_command_of_a_batch_is_accepted_or_none(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        batch: list[SendEmail] = [command(), command(scheduled_at="in 31 days")]
        with pytest.raises(InvalidField):
            await desk.send.batch(batch, ACME)
        assert await desk.emails() == 0

    at_the_desk(tmp_path, scenario)
