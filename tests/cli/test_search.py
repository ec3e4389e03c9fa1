"""emails list and recipients list: what GET /emails and GET /recipients find, on the stores themselves."""

from pathlib import Path

import pytest

from tests.cli.stocked import Stocked, failed
from tests.samples import queued


@pytest.fixture
def stores(tmp_path: Path, sqlite_url: str) -> Stocked:
    return Stocked(tmp_path, sqlite_url)


@pytest.fixture
def known(stores: Stocked) -> list[str]:
    """Two of Acme's, of which the second failed, and one of Globex's."""
    emails = [
        queued("ada@example.com", "bob@example.org", tenant="acme", subject="Your invoice"),
        failed("ada@example.com", tenant="acme"),
        queued("ada@example.com", tenant="globex"),
    ]
    stores.put(*emails)
    return [str(email.id) for email in emails]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [1, 0]),
        (("--subject", "INVOICE"), [0]),
        (("--status", "failed", "--recipient", "ADA@example.com"), [1]),
        (("--recipient-domain", "example.org", "--since", "2026-03-01"), [0]),
        (("--until", "2026-01-01"), []),
        (("--limit", "1"), [1]),
    ],
)
def test_emails_are_found(stores: Stocked, known: list[str], options: tuple[str, ...], found: list[int]) -> None:
    page = stores.run("emails", "list", "--tenant", "acme", *options)
    assert [known.index(row["id"]) for row in page["data"]] == found
    assert page["has_more"] == ("--limit" in options)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--tenant", "acme"), [1, 0, 0]),
        (("--tenant", "acme", "--prefix", "BO"), [0]),
        (("--tenant", "acme", "--address", "ada@example.com", "--status", "failed"), [1]),
        (("--tenant", "globex", "--domain", "example.com"), [2]),
        ((), []),
    ],
)
def test_recipients_are_found(stores: Stocked, known: list[str], options: tuple[str, ...], found: list[int]) -> None:
    page = stores.run("recipients", "list", *options)
    assert [known.index(row["email_id"]) for row in page["data"]] == found


def test_the_next_page_of_each_begins_where_the_first_ended(stores: Stocked, known: list[str]) -> None:
    for what, cursor in (("emails", "id"), ("recipients", "cursor")):
        everything = stores.run(what, "list", "--tenant", "acme")["data"]
        rest = stores.run(what, "list", "--tenant", "acme", "--after", everything[0][cursor])["data"]
        assert rest == everything[1:]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("emails", "list", "--after", "x"), "--after"),
        (("emails", "list", "--tag", ":"), "--tag"),
        (("emails", "list", "--recipient", "nobody"), "--recipient"),
        (("recipients", "list", "--after", "1:2"), "--after"),
        (("recipients", "list", "--address", "nobody"), "--address"),
    ],
)
def test_a_bad_option_is_named(stores: Stocked, arguments: tuple[str, ...], option: str) -> None:
    told = stores.run(*arguments, code=2)
    assert option in str(told)
