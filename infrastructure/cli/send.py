"""`postledger send`."""

import base64
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import click

from infrastructure.cli import display, options
from infrastructure.cli.client import Client, connected
from infrastructure.cli.failures import FAILED, Failure
from infrastructure.cli.timeline import Timeline, fetch

_WAITING = frozenset({"scheduled", "queued", "sending", "deferred", "unconfirmed"})
_GOT_THROUGH = frozenset({"dispatched", "delivered"})
_LOOK_EVERY = 0.2  # seconds

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("send")
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="`a@b.org` or `Name <a@b.org>`.")
@click.option("--to", multiple=True, required=True, metavar="ADDRESS", help="May be repeated, like --cc and --bcc.")
@click.option("--cc", multiple=True, metavar="ADDRESS")
@click.option("--bcc", multiple=True, metavar="ADDRESS")
@click.option("--reply-to", multiple=True, metavar="ADDRESS")
@click.option("--subject", required=True)
@click.option("--text", help="The body as plain text.")
@click.option("--text-file", type=click.File(encoding="utf-8"), help="The same from a file; - is standard input.")
@click.option("--html", help="The body as HTML.")
@click.option("--attach", "attachments", multiple=True, type=_FILE, help="A file to attach. May be repeated.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option("--schedule", "scheduled_at", metavar="TIME", help="`2026-08-05T11:52:01Z` or `in 5 minutes`.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same command under the same key is one email.")
@click.option("--wait", type=click.IntRange(1), metavar="SECONDS", help="Wait until it went out, or for so long.")
@options.of_a_service
def send_command(
    text_file: TextIO | None,
    attachments: Sequence[Path],
    tags: Sequence[str],
    key: str | None,
    wait: int | None,
    url: str | None,
    api_key_file: Path | None,
    **fields: Any,
) -> None:
    """Send an email through the running service."""
    if text_file is not None and fields["text"] is not None:
        raise click.UsageError("Give --text or --text-file, not both.")
    fields["text"] = text_file.read() if text_file else fields["text"]
    body = {"from": fields.pop("sender"), **{name: value for name, value in fields.items() if value}}
    body |= {"tags": list(_tags(tags)), "attachments": [_attachment(path) for path in attachments]}
    with connected(url, api_key_file) as client:
        receipt = accept(client, body, key)
        if wait is None:
            _tell(receipt)
        else:
            _tell_end(wait_for_end(client, receipt["id"], wait))


def accept(client: Client, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    """Have the command accepted; what the service answered."""
    response = client.ask("POST", "/emails", json=body, headers={"Idempotency-Key": key} if key else {})
    replayed = response.headers.get("Idempotent-Replayed") == "true"
    return {
        "id": response.json()["id"],
        "position": int(response.headers["Postledger-Position"]),
        "replayed": replayed,
    }


def wait_for_end(client: Client, email_id: str, seconds: float) -> Timeline:
    """The email's timeline once it went out or came to its end. Raises Failure when that takes longer."""
    until = time.monotonic() + seconds
    while (timeline := fetch(client, email_id)).standing.status in _WAITING:
        if time.monotonic() > until:
            status = timeline.standing.status.value
            message = f"The email {email_id} still is {status} after {seconds:g} seconds."
            raise Failure(message, f"It goes on; see `postledger show {email_id}`.")
        time.sleep(_LOOK_EVERY)
    return timeline


def _tell(receipt: dict[str, Any]) -> None:
    if not display.for_people():
        display.document(receipt)
        return
    again = " (accepted before, under the same key)" if receipt["replayed"] else ""
    click.echo(f"Accepted {receipt['id']}{again}\nSee it: postledger show {receipt['id']}")


def _tell_end(timeline: Timeline) -> None:
    if display.for_people():
        timeline.show(display.console())
    else:
        display.document(timeline.as_document())
    if timeline.standing.status not in _GOT_THROUGH:
        click.get_current_context().exit(FAILED)


def _tags(tags: Sequence[str]) -> Iterable[dict[str, str]]:
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not equals:
            raise click.BadParameter(f"{tag!r} is not NAME=VALUE", param_hint="--tag")
        yield {"name": name, "value": value}


def _attachment(path: Path) -> dict[str, str]:
    return {"filename": path.name, "content": base64.b64encode(path.read_bytes()).decode()}
