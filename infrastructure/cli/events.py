"""`postledger events`: history, told once more."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from application.ports import Recorded
from domain.catalogue import EVENTS
from domain.errors import UnreadableEvent
from infrastructure.bootstrap import System, now
from infrastructure.cli import display, options
from infrastructure.cli.builds import rebuild_command
from infrastructure.cli.failures import FAILED, USAGE, Failure
from infrastructure.cli.running import progress, with_system
from infrastructure.outbound import Outbound, OutboundTrouble, Refused, check_url
from infrastructure.replay import Broken, FileOutlet, Outlet, Range, UrlOutlet, around, replay, replay_key
from infrastructure.replay_marks import SqlMarks
from infrastructure.standard_webhooks import key_of
from infrastructure.web.feed import cloud_event

_URL = re.compile(r"https?://", re.IGNORECASE)
_READ_MODEL = "projection:"
_RATE = 200  # events/s that a URL gets unless something else is said
_TYPES = frozenset(event.TYPE for event in EVENTS) | frozenset(event.topic() for event in EVENTS)
_ON = "Run the same command again to go on from there."


class Place(options.Moment):
    """A position in the order of all events, or a time, or how long ago."""

    name = "position|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return int(value) if str(value).isdecimal() else super().convert(value, param, ctx)


class Types(click.ParamType):  # type: ignore[type-arg]  # generic in stubs of newer versions only
    """Event types separated by commas."""

    name = "type,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else tuple(value)
        if unknown := [name for name in names if name not in _TYPES]:
            self.fail(f"there is no event type {', '.join(unknown)}; email.queued is one", param, ctx)
        return names


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    into: str
    start: int | datetime | None
    end: int | datetime | None
    types: tuple[str, ...]
    tenant: str | None
    rate: float | None
    secret_file: Path | None
    internal: bool
    afresh: bool


@click.group("events")
def events_group() -> None:
    """The log: everything that ever happened."""


@events_group.command("replay")
@click.option("--from", "start", type=Place(), help="From this position or time on; by default from the beginning.")
@click.option("--to", "end", type=Place(), help="Up to this position (included) or time (not included).")
@click.option("--types", type=Types(), default=(), help="Only these, such as email.queued,email.dispatched.")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--into", required=True, metavar="FILE|URL|projection:NAME", help="Where to.")
@click.option("--rate", type=click.FloatRange(1), metavar="EVENTS/S", help=f"At most; for a URL {_RATE} by default.")
@click.option("--secret-file", type=click.Path(path_type=Path, dir_okay=False), help="Holds what signs calls to a URL.")
@click.option("--internal", is_flag=True, help="Allow a URL that leads to an address inside.")
@click.option("--afresh", is_flag=True, help="Begin again instead of going on after a break.")
@click.pass_context
def replay_command(context: click.Context, /, into: str, **wanted: Any) -> None:
    """Tell history once more: to a file (NDJSON), to a URL (CloudEvents in batches), or to a read model.

    No email is sent by it, whatever the target. A replay that was broken off goes on where it was when the same command
    is run again; a URL may then get a batch twice, with the same event ids.
    """
    wish = Wish(into, **wanted)
    if into.startswith(_READ_MODEL):
        if any((wish.start, wish.end, wish.types, wish.tenant)):
            raise click.UsageError(
                "A read model is made of the whole log: leave out --from, --to, --types and --tenant."
            )
        context.invoke(rebuild_command, names=(into.removeprefix(_READ_MODEL),))
        return
    told, up_to = _run(wish)
    if display.for_people():
        click.echo(f"{told} events told, up to position {up_to}.")
    else:
        display.document({"told": told, "position": up_to})


def _run(wish: Wish) -> tuple[int, int]:
    reached = 0

    async def work(system: System) -> tuple[int, int]:
        nonlocal reached
        wanted = await _range(system, wish)
        outbound = Outbound(internal=wish.internal, timeout=30)
        try:
            outlet = await _outlet(system, wish, wanted, outbound)
            with progress("Telling", "positions/s") as report:

                def tell(done: int, total: int) -> None:
                    nonlocal reached
                    reached = done
                    report(done, total)

                rate = wish.rate or (_RATE if _URL.match(wish.into) else None)
                return await replay(system.ledger, wanted, outlet, tell, rate=rate), wanted.up_to
        finally:
            await outbound.close()

    try:
        found: tuple[int, int] = with_system(work)
        return found
    except KeyboardInterrupt:
        raise Failure(f"Stopped at position {reached}.", _ON) from None
    except Refused as refused:
        raise Failure(f"--into: {refused}", "--internal allows addresses inside.", USAGE) from None
    except OutboundTrouble as trouble:
        raise Failure(f"The URL does not take events: {trouble}. Stopped at position {reached}.", _ON) from None
    except Broken as broken:
        raise Failure(f"{wish.into}: {broken}", "Name another file, or say --afresh to write it anew.", USAGE) from None
    except UnreadableEvent as error:
        raise Failure(
            f"Stopped at position {reached}: {error}", "`postledger audit verify` tells more.", FAILED
        ) from None


async def _range(system: System, wish: Wish) -> Range:
    head = await system.ledger.position()
    after, since = 0, None
    if isinstance(wish.start, int):
        after = max(0, wish.start - 1)
    elif wish.start:
        after, since = await around(system.ledger, wish.start), wish.start
    up_to, until = (min(head, wish.end), None) if isinstance(wish.end, int) else (head, wish.end)
    return Range(after, up_to, wish.types, since, until, wish.tenant)


async def _outlet(system: System, wish: Wish, wanted: Range, outbound: Outbound) -> Outlet:
    if not _URL.match(wish.into):
        path = Path(wish.into)
        if wish.afresh:
            path.unlink(missing_ok=True)
        return FileOutlet(path, _encode)
    check_url(wish.into, internal=wish.internal)
    marks, key = SqlMarks(system.database, now), replay_key(wish.into, wanted)
    await marks.prepare()
    if wish.afresh:
        await marks.forget(key)
    return UrlOutlet(wish.into, outbound, marks, key, _encode, now, _secret(wish.secret_file))


def _secret(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return key_of(file.read_text().strip())
    except ValueError as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--secret-file") from None


def _encode(recorded: Recorded) -> str:
    return cloud_event(recorded).model_dump_json()
