"""`postfix`: a real mail server. `service`: a Postledger that sends through it and reads its bounces from a Maildir."""

import sys
from collections.abc import Iterator

import pytest

from tests.mta import postfix as mail_server
from tests.mta.postfix import Postfix
from tests.mta.sending import Sending, sending_through


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    with mail_server.running() as running:
        yield running


@pytest.fixture(autouse=True)
def _log(postfix: Postfix) -> Iterator[None]:
    """What Postfix said so far stands below a failure."""
    yield
    sys.stdout.write(postfix.log)


@pytest.fixture(scope="session")
def service(postfix: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    maildir = f"maildir={postfix.mailbox('bounces')}"
    with sending_through(postfix, tmp_path_factory.mktemp("service"), "bounces", maildir) as sending:
        yield sending


@pytest.fixture(scope="session")
def hooked(postfix: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    """The same, but bounces have to be brought to it."""
    with sending_through(postfix, tmp_path_factory.mktemp("hooked"), "hooked") as sending:
        yield sending
