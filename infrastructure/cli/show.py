"""`postledger show`."""

from pathlib import Path
from uuid import UUID

import click

from infrastructure.cli import display, options
from infrastructure.cli.client import connected
from infrastructure.cli.timeline import fetch


@click.command("show")
@click.argument("email_id", type=click.UUID)
@click.option("--as-of", metavar="MOMENT", help="As it stood: VERSION, position:N, or a time.")
@options.of_a_service
def show_command(email_id: UUID, as_of: str | None, url: str | None, api_key_file: Path | None) -> None:
    """Show where an email stands, and everything that happened to it."""
    with connected(url, api_key_file) as client:
        timeline = fetch(client, str(email_id), as_of)
    if display.for_people():
        timeline.show(display.console())
    else:
        display.document(timeline.as_document())
