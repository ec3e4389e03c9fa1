"""How far each replay to a URL has got: a table, so that it goes on after a break, whoever starts it again."""

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite

from application.ports import Clock
from infrastructure.database.engines import Database
from projections.columns import Instant

_CREATING = 0x706C_726D  # "plrm": who creates the table

MARKS = Table(
    "replay_marks",
    MetaData(),
    Column("key", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
_c = MARKS.c


class SqlMarks:
    """Implements Marks."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def prepare(self) -> None:
        """Create the table if it is missing."""
        await self._database.tell(_create)

    async def read(self, key: str) -> int:
        return await self._database.ask(_read, key)

    async def write(self, key: str, position: int) -> None:
        values = {"key": key, "position": position, "updated_at": self._clock()}
        await self._database.tell(_write, values)

    async def forget(self, key: str) -> None:
        """Begin afresh."""
        await self._database.tell(_forget, key)


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    MARKS.metadata.create_all(connection)


def _read(connection: Connection, key: str) -> int:
    return connection.execute(select(_c.position).where(_c.key == key)).scalar_one_or_none() or 0


def _write(connection: Connection, values: dict[str, object]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(MARKS).values(values)
    connection.execute(new.on_conflict_do_update(index_elements=["key"], set_=values))


def _forget(connection: Connection, key: str) -> None:
    connection.execute(delete(MARKS).where(_c.key == key))
