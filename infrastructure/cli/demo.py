"""`postledger demo`: a service of its own in a temporary directory, real commands, and what became of each."""

import base64
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from infrastructure.cli import display
from infrastructure.cli.child import Child
from infrastructure.cli.client import Client
from infrastructure.cli.send import accept, wait_for_end
from infrastructure.settings import Settings

# Everything else is as it comes: SQLite, attachments in files, the sandbox for a provider.
_SETTINGS: Mapping[str, str] = {"settle_after": "PT2S", "first_retry": "PT1S", "poll": "PT0.2S", "log_level": "warning"}
_PATIENCE = 20.0  # seconds for one email
_NOTE = base64.b64encode(b"Every email accounted for.\n").decode()

Also = Callable[[Client, dict[str, Any], str], str]  # returns what came of it


@dataclass(frozen=True, slots=True)
class Scene:
    """One command, and what else is done about it."""

    title: str
    to: str
    fields: Mapping[str, Any]
    also: Also | None = None
    key: str | None = None


def _move_up(client: Client, body: dict[str, Any], email_id: str) -> str:
    client.ask("PATCH", f"/emails/{email_id}", json={"scheduled_at": "in 3 seconds"})
    return "PATCH moved it from tomorrow to three seconds ahead."


def _repeat(client: Client, body: dict[str, Any], email_id: str) -> str:
    again = accept(client, body, "order-1001")
    if again["id"] != email_id or not again["replayed"]:
        raise click.ClickException("The repeated command made a second email.")
    return "The second answer named the same email and carried Idempotent-Replayed: true."


SCENES: tuple[Scene, ...] = (
    Scene(
        "Delivered, with an attachment",
        "Ada <delivered@sandbox.test>",
        {"attachments": [{"filename": "note.txt", "content": _NOTE}]},
    ),
    Scene("Bounced", "bounced@sandbox.test", {}),
    Scene("Scheduled for tomorrow, then moved up", "grace@sandbox.test", {"scheduled_at": "in 1 day"}, _move_up),
    Scene("Sent twice under one idempotency key: one email", "alan@sandbox.test", {}, _repeat, "order-1001"),
    Scene("In doubt, settled by asking the provider", "timeout@sandbox.test", {}),
    Scene("In doubt without evidence, settled by policy", "timeout+silent@sandbox.test", {}),
)


@click.command("demo")
def demo_command() -> None:
    """Start a service that goes away again, send it some emails, and show what became of them."""
    with (
        tempfile.TemporaryDirectory(prefix="postledger-demo-") as directory,
        Child(Path(directory), _SETTINGS) as child,
    ):
        key = (Path(directory) / Settings.model_fields["api_key_file"].default).read_text().strip()
        client = Client(child.url, key)
        try:
            _perform(client)
        finally:
            client.close()
        code = child.stop()
    said = f"The API was at {child.url}, its documentation at {child.url}/docs; both are gone, with their data."
    click.echo(f"{said}\n`make run` starts a service that stays.", err=not display.for_people())
    click.get_current_context().exit(code)


def _perform(client: Client) -> None:
    """Send everything first, so that what takes time takes it together."""
    sent = [(scene, _send(client, scene)) for scene in SCENES]
    for scene, (email_id, note) in sent:
        timeline = wait_for_end(client, email_id, _PATIENCE)
        if display.for_people():
            timeline.show(display.console(), scene.title, note)
        else:
            display.line({"scene": scene.title, "note": note, **timeline.as_document()})


def _send(client: Client, scene: Scene) -> tuple[str, str]:
    """The email's id, and what else there is to say."""
    body = {
        "from": "Postledger <service@example.org>",
        "to": scene.to,
        "subject": scene.title,
        "text": "Hello from the demo.",
        **scene.fields,
    }
    email_id: str = accept(client, body, scene.key)["id"]
    return email_id, scene.also(client, body, email_id) if scene.also else ""
