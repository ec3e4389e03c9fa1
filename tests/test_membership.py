"""Who shares some work is known to all who do, and each of them deals it out alike."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.database.engines import Database
from infrastructure.database.membership import Membership, deal

names = st.lists(st.text("abcdef", min_size=1, max_size=4), unique=True, max_size=8)
Join = Callable[..., Membership]
GIVE_UP = 30.0


@pytest.fixture
def join(postgres_url: str) -> Iterator[Join]:
    database, joined = Database.open(postgres_url), list[Membership]()

    def make(work: str = "digging", lease: float = 30.0) -> Membership:
        joined.append(Membership(database, work, lease=lease))
        return joined[-1]

    yield make
    for each in joined:
        each.leave()
    database.close()


def asked(member: Membership) -> list[str]:
    """What it knows, asked now."""
    member._asked_at = 0.0
    return member.members()


@given(parts=names, members=names, most=st.integers(1, 9))
def test_every_part_is_dealt_to_one_of_the_first_members(parts: list[str], members: list[str], most: int) -> None:
    shares = [deal(parts, members, member, most) for member in members]
    assert sorted(part for share in shares for part in share) == (sorted(parts) if members else [])
    assert all(not share for share in shares[most:])
    sizes = [len(share) for share in shares[:most]]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert deal(parts, members, "a stranger", most) == set()


def test_all_see_all_and_the_longest_there_come_first(join: Join) -> None:
    first, second, third = join(), join(), join()
    for each in (first, second, third):
        each.members()
    everybody = [first.name, second.name, third.name]
    assert [asked(each) for each in (third, second, first)] == [everybody] * 3
    assert asked(join("something else")) != everybody


def test_who_leaves_is_gone_at_once_and_who_is_silent_after_the_lease(join: Join) -> None:
    first, second, third = join(lease=0.2), join(), join()
    for each in (first, second, third):
        each.members()
    second.leave()
    assert second.name not in asked(third)
    end = time.monotonic() + GIVE_UP
    while asked(third) != [third.name]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_many_may_come_at_once(join: Join) -> None:
    many = [join() for _ in range(12)]
    with ThreadPoolExecutor(len(many)) as threads:
        list(threads.map(Membership.members, many))
    assert set(asked(many[0])) == {each.name for each in many}


def test_who_cannot_ask_knows_nobody_and_comes_back(join: Join, postgres_url: str) -> None:
    member = join()
    assert asked(member) == [member.name]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert asked(member) == []
    assert asked(member) == [member.name]


def test_on_sqlite_nobody_else_is_there(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    member = Membership(database, "digging")
    assert member.members() == [member.name]
    member.leave()
    database.close()
