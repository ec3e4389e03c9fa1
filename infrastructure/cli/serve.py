"""`postledger serve`."""

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import get_args

import click
import uvloop
from sqlalchemy.engine import make_url

from application.surprises import log_surprise
from infrastructure.bootstrap import bootstrap, tune_garbage_collection
from infrastructure.cli import display
from infrastructure.cli.client import http_url
from infrastructure.cli.failures import USAGE, Failure
from infrastructure.file_lock import Held, sole_holder
from infrastructure.server import Role, serve
from infrastructure.settings import Settings, load_settings

_log = logging.getLogger(__name__)
_OURS = ("application", "domain", "infrastructure", "postledger", "projections")


@click.command("serve")
@click.option("--role", type=click.Choice(get_args(Role)), default="all", help="What this process does.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
def serve_command(role: Role, host: str | None, port: int | None) -> None:
    """Run the service: the API, the worker, or both.

    SIGTERM or Ctrl-C stops it gracefully, a second one at once. Both are safe.
    """
    given = {"host": host, "worker_port" if role == "worker" else "port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    log_to_stderr(settings.log_level)
    with _alone_on_sqlite(settings, role):
        where = settings.worker_port if role == "worker" else settings.port
        listener = None if where is None else listen(settings.host, where)
        system = bootstrap(settings)
        tune_garbage_collection()
        try:
            uvloop.run(serve(system, role, listener, partial(_announce, settings, role, listener)))
        except* Exception as errors:  # noqa: BLE001 - recorded, and the process ends
            _tell(errors)
            raise Failure("The service ended by surprise.", "The log above tells where.") from None


def log_to_stderr(level: str) -> None:
    """`debug` is for our own code: libraries would write whole requests, with mail, addresses and session tokens."""
    form, number = "%(asctime)s %(levelname)s %(name)s: %(message)s", logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.INFO), format=form, force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # we say ourselves where and when


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises Failure."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        advice = "Stop what listens there, or choose another with --port (0 takes a free one)."
        reason = (error.strerror or type(error).__name__).partition(" (")[0]  # create_server says the address again
        raise Failure(f"Cannot listen on {host}:{port}: {reason}.", advice) from None


@contextmanager
def _alone_on_sqlite(settings: Settings, role: Role) -> Iterator[None]:
    address = make_url(settings.database_url.get_secret_value())
    if address.get_backend_name() != "sqlite":
        yield
        return
    if role != "all":
        advice = "Set POSTLEDGER_DATABASE_URL to a PostgreSQL database, or serve everything in one process."
        raise Failure(f"The role {role} needs PostgreSQL; SQLite is for one process.", advice, USAGE)
    try:
        with sole_holder(Path(f"{address.database}.lock")):
            yield
    except Held:
        advice = "Stop it first, or give this one its own POSTLEDGER_DATABASE_URL."
        raise Failure(f"Another process already serves {address.database}.", advice) from None


def _announce(settings: Settings, role: Role, listener: socket.socket | None) -> None:
    """Where everything is. Of the key only the file: terminals and logs remember."""
    if role == "worker":
        _announce_worker(settings, listener)
        return
    key_file = None if settings.api_key else str(settings.api_key_file)
    url = http_url(settings.host, listener.getsockname()[1]) if listener else None
    if not display.for_people():
        docs = f"{url}/docs" if url else None
        display.line({"role": role, "api": url, "docs": docs, "api_key_file": key_file})
        return
    if url:
        click.echo(f"API   {url}\nDocs  {url}/docs\nKey   {f'cat {key_file}' if key_file else 'POSTLEDGER_API_KEY'}")
    click.echo("Ctrl-C stops.")


def _announce_worker(settings: Settings, listener: socket.socket | None) -> None:
    metrics = f"{http_url(settings.host, listener.getsockname()[1])}/metrics" if listener else None
    if not display.for_people():
        display.line({"role": "worker", "api": None, "metrics": metrics})
        return
    if metrics:
        click.echo(f"Metrics  {metrics}")
    click.echo("Ctrl-C stops.")


def _tell(errors: BaseExceptionGroup[Exception]) -> None:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _tell(error)
        else:
            log_surprise(_log, "serving", error)
