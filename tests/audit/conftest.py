"""`book`: one log for all tests of a file, put right again after each."""

from collections.abc import Iterator

import pytest

from infrastructure.audit.signing import new_key
from tests.audit.book import Book, made
from tests.postgres import PostgresServer


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Book]:
    if request.param == "sqlite":
        book = made(f"sqlite:///{tmp_path_factory.mktemp('audit')}/postledger.db", new_key())
        yield book
        book.close()
        return
    url = postgres_server.fresh_database()
    book = made(url, new_key())
    yield book
    book.close()
    postgres_server.drop_database(url)


@pytest.fixture
def book(shared: Book) -> Iterator[Book]:
    yield shared
    shared.restore()
