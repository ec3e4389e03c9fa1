"""Output: tables and colours for people, JSON where stdout is not a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


def for_people() -> bool:
    """Whether somebody is looking."""
    return sys.stdout.isatty()


def console() -> Console:
    """Where tables go. Made when needed, so that it writes to the stdout of the moment."""
    return Console(highlight=False, soft_wrap=False)


def document(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def line(value: Any) -> None:
    """One line of NDJSON, at once."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | Text = "") -> Table:
    """A table in which nothing is taken for markup."""
    made = Table(title=title or None, title_justify="left", title_style="bold", header_style="dim", box=None)
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name == "id")  # which is there to be copied
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return made


def plain(text: str) -> str:
    """Without what a terminal would act on: a subject, or a server's words, may come from a stranger."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
