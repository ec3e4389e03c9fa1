"""Whatever is done to the log behind our back is found, and it is said where."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.audit.book import Book, Row
from tests.strategies import chances

Rows = list[Row]
CHAINED = 56  # of the 60 events
STRANGER = "a" * 32


def test_an_untouched_log_is_not_accused(book: Book) -> None:
    verdict = book.verify()
    assert (verdict.ok, verdict.events, verdict.blocks, verdict.uncovered) == (True, CHAINED, 8, 4)
    assert (verdict.checkpoints, verdict.signed, verdict.position) == (1, 1, 114)


def test_a_log_that_grows_meanwhile_is_not_accused(book: Book) -> None:
    """New events, blocks and checkpoints appear between any two looks at the database."""
    ask, numbers = book.database.ask, iter(range(200, 900, 2))

    async def asked_while_it_grows(query: Callable[..., Any], *args: Any) -> Any:
        if next(grow, False):
            book.write([*book.rows(), book.rows()[0]._replace(position=next(numbers), stream=uuid4().hex, version=1)])
            await book.keeper.step(7)
            book.checkpoint()
        return await ask(query, *args)

    grow = iter([True] * 25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book.database, "ask", asked_while_it_grows)
        verdict = book.verify()
    assert (verdict.findings, verdict.events, verdict.uncovered) == ([], CHAINED + 4 + 25, 0)
    assert verdict.checkpoints == 26


@pytest.mark.parametrize(
    ("field", "value"),
    [("state", b"{}"), ("topic", "email.cancelled.v1"), ("version", 77), ("stream", STRANGER)],
)
def test_an_altered_event_is_found_and_what_of_it_was_altered(book: Book, field: str, value: Any) -> None:
    rows = book.rows()
    before = rows[20]
    rows[20] = before._replace(**{field: value})
    book.write(rows)
    altered = [each for each in book.verify().findings if each.kind == "altered"]
    (finding,) = altered
    assert (finding.position, finding.fields) == (before.position, (field,))
    if field != "state":
        assert f"{field} was {getattr(before, field)}" in finding.what


@pytest.mark.parametrize("place", [0, 6, 7, 30, CHAINED - 1], ids=["first", "end", "begin", "middle", "last"])
def test_a_removed_event_is_found_and_which_one_it_was(book: Book, place: int) -> None:
    rows = book.rows()
    gone = rows.pop(place)
    book.write(rows)
    (finding,) = [each for each in book.verify().findings if each.kind == "removed"]
    assert (finding.position, finding.stream, finding.version) == (gone.position, gone.stream, gone.version)
    assert gone.topic.startswith(f"{finding.topic}.v")


@pytest.mark.parametrize("position", [-5, 0, 1, 5, 63, 113])
def test_an_event_that_was_put_in_between_is_found(book: Book, position: int) -> None:
    rows = book.rows()
    book.write([*rows, rows[3]._replace(position=position, stream=STRANGER, version=1)])
    (finding,) = book.verify().findings
    assert (finding.kind, finding.position, finding.stream) == ("inserted", position, STRANGER)


def test_a_forged_event_at_the_end_betrays_itself_by_its_version_alone(book: Book) -> None:
    rows = book.rows()
    book.write([*rows, rows[0]._replace(position=500, version=9)])
    (finding,) = book.verify().findings
    assert (finding.kind, finding.stream, finding.version) == ("hole", rows[0].stream, 4)
    book.write([*rows, rows[0]._replace(position=500, version=4)])
    assert book.verify().ok  # as anybody's append: what comes after the chain is not proven
    assert book.verify().uncovered == 5


def swapped(rows: Rows, a: int, b: int) -> Rows:
    rows[a], rows[b] = rows[a]._replace(position=rows[b].position), rows[b]._replace(position=rows[a].position)
    return rows


def test_events_that_changed_places_are_found(book: Book) -> None:
    rows = book.rows()
    a, b = rows[5].position, rows[40].position
    book.write(swapped(rows, 5, 40))
    assert book.found() == [("moved", a), ("moved", b)]
    assert [each.what for each in book.verify().findings] == [
        f"It stood at position {b}.",
        f"It stood at position {a}.",
    ]


def test_an_event_that_was_moved_into_a_gap_is_found(book: Book) -> None:
    rows = book.rows()
    rows[10] = rows[10]._replace(position=91)
    book.write(rows)
    assert book.found() == [("moved", 91)]


def test_an_event_that_took_another_ones_place_is_found_and_so_is_the_other(book: Book) -> None:
    rows = book.rows()
    place = rows[9].position
    rows[9] = rows.pop(30)._replace(position=place)
    book.write(rows)
    assert book.found() == [("moved", place), ("removed", place)]


def test_a_tail_that_was_cut_off_is_found(book: Book) -> None:
    rows = book.rows()
    book.write(rows[:50])
    assert book.found() == [("removed", row.position) for row in rows[50:CHAINED]]


def test_a_tail_that_was_cut_off_with_its_blocks_is_found_by_a_checkpoint(book: Book) -> None:
    given = book.checkpoint()
    book.write(book.rows()[:21])
    book.tell(lambda c: c.execute(text("DELETE FROM audit_blocks WHERE number > 3")))
    assert book.found() == [("checkpoint", 58), ("checkpoint", 114)]
    book.tell(lambda c: c.execute(text("DELETE FROM audit_checkpoints")))
    assert book.verify().ok
    (finding,) = book.verify(against=[given]).findings
    assert (finding.kind, finding.position) == ("checkpoint", 114)
    assert "the chain ends at 44" in finding.what


def rewrite(book: Book) -> None:
    """What somebody does who knows how all of this works."""
    rows = book.rows()
    rows[45] = rows[45]._replace(state=b'{"event_id": null}')
    book.write(rows)
    book.tell(lambda c: c.execute(text("DELETE FROM audit_blocks WHERE number > 0")))
    book.chain()


def test_a_rewritten_chain_is_found_by_a_checkpoint_that_was_kept_here(book: Book) -> None:
    book.checkpoint()
    rewrite(book)
    (finding,) = book.verify().findings
    assert (finding.kind, finding.position) == ("checkpoint", 114)
    assert "rewritten after position 58" in finding.what


def test_a_rewritten_chain_is_found_by_a_checkpoint_that_was_kept_elsewhere(book: Book) -> None:
    given = book.checkpoint()
    rewrite(book)
    book.tell(lambda c: c.execute(text("DELETE FROM audit_checkpoints")))
    assert book.verify().ok
    (finding,) = book.verify(against=[given]).findings
    assert (finding.kind, finding.position) == ("checkpoint", 114)


def test_a_chain_that_was_begun_anew_is_that_of_another_log(book: Book) -> None:
    book.tell(lambda c: c.execute(text("DELETE FROM audit_blocks")))
    (finding,) = book.verify().findings
    assert (finding.kind, finding.what[:32]) == ("chain", "The beginning of the chain, bloc")
    book.run(book.keeper.prepare())
    book.chain()
    (finding,) = book.verify().findings
    assert "of another log" in finding.what


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM audit_blocks WHERE number = 3", "Blocks 3 to 3 are missing"),
        ("DELETE FROM audit_blocks WHERE number IN (3, 4, 6)", "Blocks 3 to 4 are missing"),
        ("UPDATE audit_blocks SET chain = (SELECT chain FROM audit_blocks WHERE number = 0) WHERE number = 3", "hash"),
        (
            "UPDATE audit_blocks SET entries = (SELECT entries FROM audit_blocks WHERE number = 2) WHERE number = 5",
            "hash",
        ),
        ("UPDATE audit_blocks SET count = 6 WHERE number = 3", "another number of entries"),
        ("UPDATE audit_blocks SET total = 999 WHERE number = 8", "counts otherwise"),
        ("UPDATE audit_blocks SET last = 9000000000 WHERE number = 8", "positions"),
        ("UPDATE audit_blocks SET first = 1 WHERE number = 8", "positions"),
    ],
)
def test_a_damaged_chain_is_found(book: Book, change: str, said: str) -> None:
    book.tell(lambda c: c.execute(text(change)))
    found = [each for each in book.verify().findings if each.kind == "chain"]
    assert any(said in each.what for each in found)


def test_columns_of_other_types_are_found(book: Book) -> None:
    if book.database.kind == "postgresql":
        with pytest.raises(DBAPIError):
            book.tell(lambda c: c.execute(text("UPDATE events SET state = CAST('x' AS text)")))
        return
    for column, value in (("topic", "CAST(topic AS BLOB)"), ("state", "CAST(state AS TEXT)"), ("topic", "x'ff'")):
        book.tell(lambda c, n=column, v=value: c.execute(text(f"UPDATE events SET {n} = {v} WHERE rowid = 20")))
        (finding,) = book.verify().findings
        assert (finding.kind, finding.position, finding.fields) == ("altered", 20, ("types",))
        book.restore()
    book.tell(
        lambda c: c.execute(text("UPDATE events SET originator_id = upper(originator_id) || ' ' WHERE rowid = 20"))
    )
    assert book.found() == [("altered", 20)]


def test_it_is_found_without_the_index_too(book: Book) -> None:
    rows = book.rows()
    book.tell(lambda c: c.execute(text("ALTER TABLE audit_v1 RENAME TO audit_away")))
    try:
        book.write([*rows[:9], rows[9]._replace(topic="email.expired.v1"), *rows[11:]])
        assert book.found() == [("altered", rows[9].position), ("removed", rows[10].position)]
    finally:
        book.tell(lambda c: c.execute(text("ALTER TABLE audit_away RENAME TO audit_v1")))


# -- at random

Deed = Callable[[Rows, Random], set[int]]


def _alter(rows: Rows, chance: Random) -> set[int]:
    place = chance.randrange(CHAINED)
    fields: dict[str, Any] = {
        "state": chance.randbytes(chance.randrange(40)),
        "topic": f"x{chance.random()}",
        "version": 90 + place,
    }
    name = chance.choice(tuple(fields))
    rows[place] = rows[place]._replace(**{name: fields[name]})
    return {rows[place].position}


def _remove(rows: Rows, chance: Random) -> set[int]:
    return {rows.pop(chance.randrange(CHAINED)).position}


def _insert(rows: Rows, chance: Random) -> set[int]:
    position = 2 * chance.randrange(-3, 57) + 1
    rows.append(chance.choice(rows)._replace(position=position, stream=chance.randbytes(16).hex()))
    return {position}


def _swap(rows: Rows, chance: Random) -> set[int]:
    a, b = chance.sample(range(CHAINED), 2)
    swapped(rows, a, b)
    return {rows[a].position, rows[b].position}


def _truncate(rows: Rows, chance: Random) -> set[int]:
    start = chance.randrange(CHAINED)
    gone = {row.position for row in rows[start:CHAINED]}
    del rows[start:]
    return gone


DEEDS: Sequence[Deed] = (_alter, _remove, _insert, _swap, _truncate)


@given(chance=chances)
@settings(max_examples=16, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_done_is_found_where_it_was_done(book: Book, chance: Random) -> None:
    book.restore()
    rows = book.rows()
    where = chance.choice(DEEDS)(rows, chance)
    book.write(rows)
    assert {position for _, position in book.found()} == where
