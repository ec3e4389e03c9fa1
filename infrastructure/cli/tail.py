"""`postledger tail`."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx2
from rich.text import Text

from infrastructure.cli import display, options
from infrastructure.cli.client import Client, connected, unreachable
from infrastructure.cli.failures import UNREACHABLE, Failure
from infrastructure.cli.timeline import clock, details, word

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds before connecting again


@click.command("tail")
@click.option("--after", type=click.IntRange(0), metavar="POSITION", help="Begin after this; by default, with news.")
@click.option("--types", metavar="TYPE,…", help="Only these events, such as email.queued,email.dispatched.")
@options.of_a_service
def tail_command(after: int | None, types: str | None, url: str | None, api_key_file: Path | None) -> None:
    """Follow events as they happen, until Ctrl-C. When the service goes away, wait for it and go on."""
    with connected(url, api_key_file) as client:
        try:
            for event in follow(client, after, types):
                _tell(event)
        except KeyboardInterrupt:
            return


def follow(client: Client, after: int | None, types: str | None) -> Iterator[dict[str, Any]]:
    """The service's events, each once and in order. Raises Failure when nothing answers the first time."""
    connected_once, pause = False, _FIRST_PAUSE
    while True:
        try:
            for event in _connection(client, after, types):
                connected_once, pause = True, _FIRST_PAUSE
                if event is not None:
                    after = int(event["position"])
                    yield event
        except (httpx2.TransportError, Failure) as error:
            if isinstance(error, Failure) and not (connected_once and error.exit_code == UNREACHABLE):
                raise
            if not connected_once:
                raise unreachable(client.url, error) from None
        click.echo(f"The stream ended. Connecting again in {pause:g} s.", err=True)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _connection(client: Client, after: int | None, types: str | None) -> Iterator[dict[str, Any] | None]:
    """The events of one connection; first None, which says that it stands."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with client.stream("/events/stream", params={"types": types} if types else {}, headers=headers) as events:
        yield None
        for sent in events:
            if sent.data:
                found: dict[str, Any] = json.loads(sent.data)
                yield found


def _tell(event: dict[str, Any]) -> None:
    if not display.for_people():
        display.line(event)
        sys.stdout.flush()
        return
    what = display.plain(details(event["type"], event["data"], {}))
    parts = ((f"{event['position']:>8} ", "dim"), f"{clock(event['time'])} ", (f"{event['subject']} ", "cyan"))
    display.console().print(Text.assemble(*parts, (word(event["type"]), "bold"), f"  {what}"), soft_wrap=True)
