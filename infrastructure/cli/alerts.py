"""`postledger alerts`: what is or was wrong, and whether operators can be reached."""

import asyncio
from typing import Any

import click
from rich.text import Text

from application.alerts import AlertChannel
from application.errors import ApplicationError
from application.incidents import Alert, Incident
from domain.ids import uuid7
from infrastructure.bootstrap import System, now
from infrastructure.cli import display
from infrastructure.cli.failures import FAILED
from infrastructure.cli.running import with_system
from infrastructure.cli.serve import log_to_stderr
from infrastructure.outbound import OutboundTrouble

_PATIENCE = 20.0  # seconds for one channel
_COLUMNS = ("kind", "subject", "severity", "status", "since", "resolved_at", "told", "text")


@click.group("alerts")
def alerts_group() -> None:
    """What operators are told."""


@alerts_group.command("list")
@click.option("--open", "ongoing", is_flag=True, help="Only incidents that go on.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
def list_command(ongoing: bool, limit: int) -> None:
    """Incidents, the newest first."""

    async def work(system: System) -> list[Incident]:
        await system.incidents.prepare()
        return await system.incidents.recent(limit + 1, ongoing)

    found: list[Incident] = with_system(work)
    rows = [_row(incident) for incident in found[:limit]]
    if not display.for_people():
        display.document({"object": "list", "has_more": len(found) > limit, "data": rows})
        return
    cells = ([str(row[name] or "") for name in _COLUMNS] for row in (_for_people(row) for row in rows))
    display.console().print(display.table(_COLUMNS, cells))


@alerts_group.command("test")
def test_command() -> None:
    """Tell every configured channel that this is a test. Exit code 1 when one of them could not be told."""

    async def work(system: System) -> list[dict[str, Any]]:
        await system.prepare()
        log_to_stderr(system.settings.log_level)
        alert = _test_alert()
        return [await _tried(channel, alert) for channel in system.alerts]

    tried: list[dict[str, Any]] = with_system(work)
    if display.for_people():
        cells = ((str(each["channel"]), *_verdict(each["error"])) for each in tried)
        display.console().print(display.table(("channel", "", "found"), cells))
    else:
        display.document(tried)
    if any(each["error"] for each in tried):
        click.get_current_context().exit(FAILED)


def _test_alert() -> Alert:
    at = now()
    return Alert(uuid7(at), "test", "", "warning", "raised", at, "This is a test. Nothing is wrong.", {"number": 1})


async def _tried(channel: AlertChannel, alert: Alert) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PATIENCE):
            await channel.tell(alert)
    except TimeoutError:
        return {"channel": channel.name, "error": "it did not answer in time"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test was to find out
        said = f": {error}" if isinstance(error, (OutboundTrouble, ApplicationError)) else ""
        return {"channel": channel.name, "error": f"{type(error).__name__}{said}"}
    return {"channel": channel.name, "error": None}


def _verdict(error: str | None) -> tuple[Text, str]:
    return (Text("WRONG", style="bold red"), error) if error else (Text("told", style="green"), "")


def _row(incident: Incident) -> dict[str, Any]:
    return {
        "id": str(incident.id),
        "kind": incident.kind,
        "subject": incident.subject,
        "severity": incident.severity,
        "status": incident.status,
        "since": incident.since.isoformat(),
        "resolved_at": incident.resolved_at.isoformat() if incident.resolved_at else None,
        "text": incident.text,
        "facts": dict(incident.facts),
        "told": {channel: telling.told for channel, telling in incident.tellings.items()},
    }


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    told = ", ".join(channel for channel, status in row["told"].items() if status == row["status"])
    times = {name: (row[name] or "")[:19] for name in ("since", "resolved_at")}
    return {**row, **times, "told": told}
