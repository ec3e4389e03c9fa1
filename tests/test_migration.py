"""A database that the previous version of the code has written is served by this one while it builds what changed."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, inspect, select

from application.errors import ReadModelBuilding
from infrastructure.bootstrap import PROJECTIONS, System, bootstrap
from infrastructure.cli.main import main
from infrastructure.database.positions import POSITIONS
from infrastructure.settings import load_settings
from infrastructure.verification.verify import verify
from projections.activity import timeline
from projections.email_list import EmailFilter, page
from tests.samples import queued

OLD = (Path(__file__).parent / "data/previous/read_models.sql").read_text()
RAISED = {"emails", "recipients", "suppressions", "providers"}
NEW = {"audit", "statistics"}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    with closing(sqlite3.connect(tmp_path / "postledger.db")) as connection:
        connection.executescript(OLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTLEDGER_DATABASE_URL", f"sqlite:///{tmp_path}/postledger.db")
    return bootstrap(load_settings())


async def states(system: System) -> dict[str, str]:
    return {each.name: each.state for each in await system.runner.positions()}


async def built(system: System) -> None:
    """Let the workers' loop do what it does."""
    stop = asyncio.Event()

    async def leads() -> bool:
        return True

    building = asyncio.create_task(system.builder.run(leads, stop))
    while "building" in (await states(system)).values():
        await asyncio.sleep(0.01)
    stop.set()
    await building


def test_what_did_not_change_is_served_at_once_and_the_rest_once_it_is_built(system: System) -> None:
    async def scenario() -> None:
        await system.prepare()
        await system.runner.catch_up()
        known = await states(system)
        assert {name for name, state in known.items() if state == "building"} == RAISED
        assert {name for name, state in known.items() if state == "live"} >= NEW  # on a short log
        with pytest.raises(ReadModelBuilding):
            await system.database.ask(page, EmailFilter("acme"))
        assert await system.database.ask(timeline, "acme", "ada@example.com")
        email = queued("ada@example.com", tenant="acme")  # the log takes what comes
        await system.ledger.append(email.collect_events())
        assert [r.event.originator_id for r in await system.ledger.load(email.id)] == [email.id]
        await built(system)
        await system.runner.catch_up()
        listed = (await system.database.ask(page, EmailFilter("acme", limit=100))).rows
        assert listed[0].id == email.id
        assert len(listed) > 1
        assert (await verify(system.ledger, system.database, PROJECTIONS)).right
        assert "emails_v1" in await system.database.ask(lambda connection: inspect(connection).get_table_names())
        await system.close()

    asyncio.run(scenario())


def old_places(connection: Connection) -> dict[str, int]:
    """Where the previous version's read models stand, of those that this one has raised."""
    versions = {projection.name: projection.version for projection in PROJECTIONS}
    rows = connection.execute(select(POSITIONS.c.name, POSITIONS.c.version, POSITIONS.c.position)).all()
    return {row.name: row.position for row in rows if row.version < versions.get(row.name, 0)}


def test_it_can_be_built_before_the_first_process_of_this_version_serves(system: System) -> None:
    """And is no concern of the processes that still serve as the previous version does."""
    assert (before := asyncio.run(system.database.ask(old_places))).keys() == RAISED
    told = CliRunner().invoke(main, ["projections", "rebuild"])
    assert told.exit_code == 0, told.output
    assert set(json.loads(told.stdout)["rebuilt"]) == RAISED

    async def scenario() -> None:
        await system.prepare()
        assert set((await states(system)).values()) == {"live"}
        assert (await system.database.ask(page, EmailFilter("acme", limit=100))).rows
        assert await system.database.ask(old_places) == before
        assert "emails_v1" in await system.database.ask(lambda connection: inspect(connection).get_table_names())
        await system.close()

    asyncio.run(scenario())
