"""The command line: a list of commands."""

import errno
from typing import Any

import click

from infrastructure.cli.alerts import alerts_group
from infrastructure.cli.audit import audit_group
from infrastructure.cli.config import config_command
from infrastructure.cli.dead_letters import dead_letters_group
from infrastructure.cli.demo import demo_command
from infrastructure.cli.doctor import doctor_command
from infrastructure.cli.events import events_group
from infrastructure.cli.failures import EXIT_CODES, USAGE, Failure
from infrastructure.cli.inbox import inbox_group
from infrastructure.cli.projections import projections_group
from infrastructure.cli.providers import providers_group
from infrastructure.cli.search import emails_group, recipients_group
from infrastructure.cli.send import send_command
from infrastructure.cli.serve import serve_command
from infrastructure.cli.show import show_command
from infrastructure.cli.statistics import statistics_command
from infrastructure.cli.suppressions import suppressions_group
from infrastructure.cli.tail import tail_command
from infrastructure.cli.unconfirmed import unconfirmed_group
from infrastructure.settings import SettingsError

COMMANDS: tuple[click.Command, ...] = (
    serve_command,
    send_command,
    show_command,
    tail_command,
    events_group,
    emails_group,
    recipients_group,
    dead_letters_group,
    unconfirmed_group,
    suppressions_group,
    providers_group,
    statistics_command,
    inbox_group,
    alerts_group,
    projections_group,
    audit_group,
    doctor_command,
    config_command,
    demo_command,
)


class Commands(click.Group):
    """Tells what is expected to go wrong anywhere in words, not in tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise Failure(str(error), "See `postledger config` and the README for the settings.", USAGE) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever read us has had enough; click ends quietly
            raise Failure(f"{error.filename or 'The system'}: {error.strerror or type(error).__name__}") from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [command.name or "" for command in COMMANDS]  # in the order of the list, not of the alphabet


@click.group(
    cls=Commands,
    commands=COMMANDS,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="postledger", message="postledger %(version)s")
def main() -> None:
    """Postledger: every email accounted for.

    Tables on a terminal; JSON where the output goes elsewhere.
    """
