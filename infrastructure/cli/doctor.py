"""`postledger doctor`: is everything there that the service needs, and if not, what to do."""

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial

import click
import httpx2
from rich.text import Text
from sqlalchemy import Connection, text

from application.errors import StoreUnavailable
from application.inbox import InboxFilter
from domain.provider_state import ProviderState
from infrastructure.bootstrap import System, bootstrap, now
from infrastructure.cli import display
from infrastructure.cli.client import service_url
from infrastructure.cli.failures import FAILED, Failure
from infrastructure.cli.serve import listen
from infrastructure.settings import Settings, SettingsError, load_settings, unknown_variables

_PATIENCE = 20.0  # seconds for one check
_MANY = 100  # beyond that, how many it is does not matter
_PROBE = b"postledger doctor"


class _Wrong(Exception):
    """A check's verdict: what is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    fine: bool
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at. `look` says what it found, or raises; `advice` is for the latter."""

    name: str
    look: Callable[[], Awaitable[str]]
    advice: str


@click.command("doctor")
def doctor_command() -> None:
    """Check everything the service needs. Exit code 1 when something is wrong."""
    findings = list(examine())
    if display.for_people():
        rows = [_row(finding) for finding in findings]
        display.console().print(display.table(("check", "", "found"), rows))
    else:
        display.document([asdict(finding) for finding in findings])
    if not all(finding.fine for finding in findings):
        click.get_current_context().exit(FAILED)


def examine() -> Iterator[Finding]:
    """Everything, in the order in which one would mend it."""
    try:
        settings = load_settings()
        system = bootstrap(settings)
    except (SettingsError, OSError) as error:
        yield Finding("settings", False, str(error), "Correct these; the rest was not looked at.")
        return
    yield _spelling()
    yield from asyncio.run(_examine(system, settings))


async def _examine(system: System, settings: Settings) -> list[Finding]:
    try:
        return [await _look(check) for check in _checks(system, settings)]
    finally:
        await system.close()


def _checks(system: System, settings: Settings) -> list[Check]:
    database = "Is POSTLEDGER_DATABASE_URL right, is the server up, and may this user create tables?"
    provider = "See its URL in POSTLEDGER_PROVIDERS."
    return [
        Check("database and schema", partial(_schema, system), database),
        Check("database round trip", partial(_round_trip, system), "Is the disk full, or the database read-only?"),
        Check("read models", partial(_read_models, system), "Once mended: postledger projections rebuild"),
        Check("inbox", partial(_inbox, system), "postledger inbox list --state failed"),
        Check("suppression feed", partial(_feed, system), "It goes on by itself once the code can read the event."),
        Check(
            "attachment store", partial(_blobs, system), "POSTLEDGER_BLOB_URL must name a place that can be written."
        ),
        *(Check(f"provider {name}", partial(_provider, system, name), provider) for name in system.providers),
        Check("API key", partial(_key, settings), f"chmod 600 {settings.api_key_file}"),
        Check("address", partial(_address, settings), "Stop what listens there, or set POSTLEDGER_PORT."),
    ]


async def _look(check: Check) -> Finding:
    try:
        return Finding(check.name, True, await asyncio.wait_for(check.look(), _PATIENCE))
    except _Wrong as wrong:
        return Finding(check.name, False, str(wrong), check.advice)
    except StoreUnavailable:
        return Finding(check.name, False, "the database cannot be reached", check.advice)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the check was to find out
        return Finding(check.name, False, type(error).__name__, check.advice)


async def _schema(system: System) -> str:
    position = await system.ledger.position()
    await system.prepare()
    return f"{system.database.kind}, {position} events"


async def _inbox(system: System) -> str:
    waiting = [len(await system.inbox.page(InboxFilter(state=state), None, _MANY)) for state in ("new", "unmatched")]
    failed = len(await system.inbox.page(InboxFilter(state="failed"), None, _MANY))
    if failed:
        raise _Wrong(f"{failed}{'+' if failed == _MANY else ''} deliveries could not be translated")
    return "{} to translate, {} about no known email".format(*waiting)


async def _feed(system: System) -> str:
    if error := await system.feeding.error():
        raise _Wrong(error)
    return "fine"


async def _round_trip(system: System) -> str:
    begun = time.perf_counter()
    await system.database.tell(_write_and_read)
    return f"{(time.perf_counter() - begun) * 1000:.1f} ms"


def _write_and_read(connection: Connection) -> None:
    """Under the write lock, but in a table that nobody else sees."""
    connection.execute(text("CREATE TEMPORARY TABLE doctor (said TEXT)"))
    connection.execute(text("INSERT INTO doctor VALUES ('ah')"))
    heard = connection.execute(text("SELECT said FROM doctor")).scalar_one()
    connection.execute(text("DROP TABLE doctor"))
    if heard != "ah":
        raise _Wrong("what was written was not read back")


async def _read_models(system: System) -> str:
    positions = await system.runner.positions()
    if held := [f"{p.name}: {p.error}" for p in positions if p.error]:
        raise _Wrong("; ".join(held))
    return f"{len(positions)}, at most {max((p.lag for p in positions), default=0)} events behind"


async def _blobs(system: System) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield _PROBE

    sha256, _ = await system.blobs.put(chunks())
    kept = await system.blobs.get(sha256)
    await system.blobs.delete(sha256, unless_put_after=now() + timedelta(minutes=1))
    if kept != _PROBE:
        raise _Wrong("what was written was not read back")
    return "written, read and deleted"


async def _provider(system: System, name: str) -> str:
    if wrong := await system.providers[name].check():
        raise _Wrong(wrong)
    with suppress(StoreUnavailable):  # which another check tells
        return f"answers{_standing((await system.streams.load(name)).state, now())}"
    return "answers"


def _standing(state: ProviderState, at: datetime) -> str:
    """What else there is to say: mail need not go through a provider that answers."""
    if state.paused:
        return f"; paused by an operator since {state.since:%Y-%m-%d %H:%M}"
    if state.degraded:
        return f"; degraded ({state.rule}): its circuit is {state.word(at).replace('_', ' ')}"
    return ""


async def _key(settings: Settings) -> str:
    if settings.api_key:
        return "from POSTLEDGER_API_KEY"
    if stat.S_IMODE(settings.api_key_file.stat().st_mode) & 0o077:
        raise _Wrong(f"{settings.api_key_file} can be read by others")
    return f"in {settings.api_key_file}, for its owner only"


async def _address(settings: Settings) -> str:
    """Either the service answers there, or the place is free."""
    url = service_url(settings)
    try:
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
            checks = (await http.get(f"{url}/readyz")).json()["checks"]
    except httpx2.ConnectError:
        return await asyncio.to_thread(_free, settings)
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        raise _Wrong(f"something other than Postledger answers at {url}") from None
    if away := [name for name, trouble in checks.items() if trouble]:
        raise _Wrong(f"the service runs at {url}, without {', '.join(away)}")
    return f"the service runs at {url}"


def _free(settings: Settings) -> str:
    try:
        listen(settings.host, settings.port).close()
    except Failure as failure:
        raise _Wrong(failure.message) from None
    return f"{settings.host}:{settings.port} is free"


def _spelling() -> Finding:
    unknown = ", ".join(unknown_variables())
    found = f"nothing reads {unknown}" if unknown else "all read, and the event store's unsafe flag is not set"
    return Finding("settings", not unknown, found, "Is it misspelt? See `postledger config`." if unknown else "")


def _row(finding: Finding) -> Sequence[str | Text]:
    if finding.fine:
        return finding.check, Text("fine", style="green"), finding.found
    return finding.check, Text("WRONG", style="bold red"), f"{finding.found.rstrip('.')}. {finding.advice}"
