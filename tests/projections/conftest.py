"""Databases that all tests of a file share, as what they do in them is undone."""

from collections.abc import Iterator

import pytest

from infrastructure.database.engines import Database
from tests.postgres import PostgresServer


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('read_models')}/postledger.db")
    yield database
    database.close()


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> Iterator[Database]:
    url = postgres_server.fresh_database()
    database = Database.open(url)
    yield database
    database.close()
    postgres_server.drop_database(url)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each test runs on both."""
    found: Database = request.getfixturevalue(request.param)
    return found
