"""The chain: the same however it is cut, whoever makes it, and whatever is interrupted."""

import asyncio
import hashlib
import re
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings

from infrastructure.audit import blocks, checkpoints
from infrastructure.audit.chain import Entry, Stored, entry, leaf, linked, pack, unpack
from infrastructure.audit.keeper import ChainKeeper
from infrastructure.audit.signing import new_key
from infrastructure.database.engines import Database
from tests.audit.book import Book, Row
from tests.ledger.conftest import open_ledger
from tests.samples import NOW, queued
from tests.strategies import chances

PAGE = (Path(__file__).parents[2] / "docs/audit.md").read_text()


def by_hand(log_id: bytes, rows: list[Row]) -> bytes:
    """As docs/audit.md has it, in other words."""
    chain = log_id
    for row in rows:
        digest = hashlib.sha256(b"postledger event 1\n")
        for part in (str(row.position), row.stream, str(row.version), row.topic, row.state):
            data = part if isinstance(part, bytes) else part.encode()
            digest.update(len(data).to_bytes(4, "big") + data)
        chain = hashlib.sha256(chain + digest.digest()).digest()
    return chain


def log_id(book: Book) -> bytes:
    with book.database.read() as connection:
        return blocks.log_id(connection) or b""


def test_it_is_what_anybody_computes(book: Book) -> None:
    book.chain()
    assert book.newest().chain == by_hand(log_id(book), book.rows())
    assert (book.newest().total, book.newest().last) == (60, 122)


def test_the_program_of_the_page_computes_it(tmp_path: Path) -> None:
    book = Book(f"sqlite:///{tmp_path}/postledger.db")
    book.fill(4)
    book.chain()
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "sqlite3" in block]
    said: list[str] = []
    exec(program.replace("var/postledger.db", f"{tmp_path}/postledger.db"), {"print": said.append})  # noqa: S102
    assert said == [f"{log_id(book).hex()} 12 12 {book.newest().chain.hex()}"]
    book.close()


@given(chance=chances)
@settings(max_examples=50)
def test_it_does_not_depend_on_how_the_log_is_cut(chance: Random) -> None:
    events = [Stored(n, b"a" * 32, b"1", b"t", chance.randbytes(9)) for n in range(chance.randrange(1, 40))]
    entries, start = [entry(event) for event in events], chance.randbytes(32)
    cut = chance.randrange(len(events))
    assert linked(linked(start, entries[:cut]), entries[cut:]) == linked(start, entries)
    assert unpack(pack(entries)) == entries
    assert unpack(pack(entries)[:-1]) == entries[:-1]


def test_no_field_can_be_taken_for_another() -> None:
    one = Stored(1, b"ab", b"1", b"c", b"d")
    others = [
        *(one.at(11), one._replace(stream=b"a"), one._replace(version=b"11"), one._replace(topic=b"cd", state=b"")),
        *(one._replace(stream=b"a", version=b"b1"), one._replace(state=b"dd"), one._replace(odd=b"text")),
    ]
    assert len({leaf(each) for each in (one, *others)}) == len(others) + 1
    assert unpack(pack([Entry(-3, b"x" * 32)])) == [Entry(-3, b"x" * 32)]


def test_keepers_that_race_make_one_chain(database_url: str) -> None:
    async def play() -> None:
        ledgers, databases = [open_ledger(database_url) for _ in range(3)], [Database.open(database_url) for _ in "abc"]
        keepers = [ChainKeeper(ledger, db, lambda: NOW) for ledger, db in zip(ledgers, databases, strict=True)]
        await asyncio.gather(*(keeper.prepare() for keeper in keepers))
        done = asyncio.Event()

        async def append() -> None:
            for _ in range(20):
                await ledgers[0].append([event for _ in range(5) for event in queued().collect_events()])
            done.set()

        async def keep(keeper: ChainKeeper) -> None:
            while not done.is_set():
                await keeper.step(3)
            await keeper.catch_up()

        await asyncio.gather(append(), *map(keep, keepers))
        for ledger, database in zip(ledgers, databases, strict=True):
            await ledger.close()
            database.close()

    asyncio.run(play())
    book = Book(database_url)
    assert (book.newest().total, book.verify().ok, book.verify().uncovered) == (100, True, 0)
    assert book.newest().chain == by_hand(log_id(book), book.rows())
    book.close()


def test_who_dies_between_two_steps_leaves_nothing_half_done(book: Book) -> None:
    with book.database.read() as connection:
        block = blocks.following(connection, 3)
    assert block is not None  # whoever computed it dies here; somebody else goes on
    other = book.run(book.keeper.step(2))
    assert other is not None
    assert not book.tell(blocks.append, block, NOW)  # back from the dead
    book.chain()
    assert book.verify().ok
    assert book.newest().chain == by_hand(log_id(book), book.rows())


def test_blocks_that_got_lost_at_the_end_are_made_again_as_they_were(book: Book) -> None:
    before = book.newest()
    book.tell(lambda c: c.execute(blocks.AUDIT_BLOCKS.delete().where(blocks.AUDIT_BLOCKS.c.number > 2)))
    while book.newest().total < before.total:
        book.run(book.keeper.step(7))
    assert book.newest() == before
    assert book.verify().ok


def test_the_loop_chains_what_comes_and_makes_checkpoints(database_url: str) -> None:
    book = Book(database_url, new_key())
    now = NOW
    keeper = ChainKeeper(book.ledger, book.database, lambda: now, book.signer, timedelta(hours=1))
    book.fill(2)

    async def leads() -> bool:
        return True

    async def until_kept(number: int) -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(keeper.run(leads, stop))
        async with asyncio.timeout(20):
            while len(await book.database.ask(checkpoints.page, 10)) < number:
                await asyncio.sleep(0.01)
        stop.set()
        await running

    book.run(until_kept(1))
    book.run(book.ledger.append(queued().collect_events()))
    now += timedelta(minutes=61)
    book.run(until_kept(2))
    kept = [each.document for each in book.run(book.database.ask(checkpoints.page, 10))]
    assert [document["position"] for document in kept] == [7, 6]
    assert book.verify().signed == 2
    book.close()


def test_a_follower_chains_nothing(book: Book) -> None:
    async def play() -> None:
        stop = asyncio.Event()

        async def leads() -> bool:
            stop.set()
            return False

        await book.keeper.run(leads, stop)

    before = book.newest()
    book.run(play())
    assert book.newest() == before


def test_a_bad_state_of_any_length_can_be_hashed() -> None:
    assert len(leaf(Stored(1, b"", b"", b"", b"", b"null null null null"))) == 32


@pytest.mark.parametrize("size", [0, 39, 41])
def test_incomplete_entries_are_left_out(size: int) -> None:
    assert len(unpack(b"x" * size)) == size // 40
