"""The command `postledger`: one file per command."""

from infrastructure.cli.main import main

__all__ = ["main"]
