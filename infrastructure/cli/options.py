"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

_URL = click.option("--url", metavar="URL", help="The service to talk to; by default the one the settings describe.")
_KEY = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that holds the API key; by default the key comes from the settings.",
)


def of_a_service(command: _F) -> _F:
    """`--url` and `--api-key-file`."""
    return _URL(_KEY(command))
