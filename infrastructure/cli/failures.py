"""How a command fails: one line for people on stderr, what to do next, and an exit code for programs."""

import click

FAILED, USAGE, UNREACHABLE, NOT_FOUND = 1, 2, 3, 4

EXIT_CODES = """\b
Exit codes:
  0  done
  1  failed
  2  wrong usage or settings
  3  the service cannot be reached
  4  there is no such thing
"""


class Failure(click.ClickException):
    """The command could not do what was asked; `advice` is what to do next."""

    def __init__(self, message: str, advice: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.advice = advice
        self.exit_code = code  # type: ignore[misc]  # click declares it for classes; each failure has its own

    def format_message(self) -> str:
        return f"{self.message}\n{self.advice}" if self.advice else self.message
