"""Addresses, ids and delivery policy: the values that everything else is made of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.address import address_key, ascii_address, normalise, parse_mailbox
from domain.delivery import (
    HOPELESS,
    DeliveryPolicy,
    ErrorClass,
    GiveUp,
    RetryAt,
    Trouble,
    after_trouble,
    backoff,
)
from domain.errors import InvalidAddress
from domain.ids import email_id_for_key, recipient_id, uuid7
from tests.samples import NOW

MANY = settings(max_examples=500, deadline=None)
_LOCAL = st.text("abzAZ09_+=-.~!#'*/\"\\ \u00e9\u00df@", max_size=70)
_DOMAIN = st.sampled_from(
    [
        "example.com",
        "EXAMPLE.Com",
        "b\u00fccher.example",
        "xn--bcher-kva.example",
        "a.test",
        "localhost",
        "-x.de",
        "x..y",
    ]
)
_ALMOST = st.builds("{}@{}".format, _LOCAL, _DOMAIN)


def as_the_library_says(address: str) -> str | None:
    try:
        return validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        return None


def or_none(parse: Callable[[str], str], text: str) -> str | None:
    try:
        return parse(text)
    except InvalidAddress:
        return None


@given(text=st.one_of(st.emails(), _ALMOST, st.text(max_size=40)))
@MANY
def test_the_short_way_to_an_address_ends_where_the_library_does(text: str) -> None:
    assert or_none(normalise, text) == as_the_library_says(text)


@given(text=st.one_of(st.emails(), _ALMOST))
@MANY
def test_normalising_twice_changes_nothing_and_all_spellings_share_a_key(text: str) -> None:
    found = or_none(normalise, text)
    if found is not None:
        assert normalise(found) == found
        assert address_key(found) == address_key(text)


@pytest.mark.parametrize(
    ("written", "address", "name"),
    [
        ("ada@example.com", "ada@example.com", ""),
        ("  ada@EXAMPLE.com ", "ada@example.com", ""),
        ("Ada Lovelace <ada@example.com>", "ada@example.com", "Ada Lovelace"),
        ('"Lovelace, Ada" <ada@example.com>', "ada@example.com", "Lovelace, Ada"),
        ("\u00c4da <ada@xn--bcher-kva.example>", "ada@b\u00fccher.example", "\u00c4da"),
        ("<ada@example.com>", "ada@example.com", ""),
        ("j\u00fcrgen@b\u00fccher.example", "j\u00fcrgen@b\u00fccher.example", ""),
        ('"O\\"Hara" <ada@example.com>', "ada@example.com", 'O"Hara'),
    ],
)
def test_mailboxes_are_read(written: str, address: str, name: str) -> None:
    mailbox = parse_mailbox(written)
    assert (mailbox.address, mailbox.name) == (address, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example.com\r\nBcc: eve@example.com",
        "Ada\nBcc: eve@example.com <ada@example.com>",
        "Ada\0 <ada@example.com>",
        "ada@example.com, eve@example.com",
        "Ada <ada@example.com> <eve@example.com>",
        "a b@example.com",
        "ada@example..com",
        f"a@{'b.' * 130}com",
    ],
)
def test_what_is_no_single_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_mailbox(text)


@given(st.text('ab <>"\\,;:@\r\n\0()[]\u00e9', max_size=20), st.sampled_from(["\r", "\n", "\0"]), st.integers(0, 20))
@MANY
def test_no_line_break_ever_gets_through(name: str, bad: str, place: int) -> None:
    text = f"{name[:place]}{bad}{name[place:]} <ada@example.com>"
    stripped = text.strip()
    try:
        mailbox = parse_mailbox(text)
    except InvalidAddress:
        return
    assert bad not in stripped
    assert not set("\r\n\0") & set(mailbox.name + mailbox.address)


def test_an_address_has_an_ascii_form_unless_its_local_part_has_none() -> None:
    assert ascii_address("ada@b\u00fccher.example") == "ada@xn--bcher-kva.example"
    assert ascii_address("ada@example.com") == "ada@example.com"
    assert ascii_address("j\u00fcrgen@example.com") is None


@given(st.integers(0, 250_000_000_000_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC)))
@MANY
def test_a_uuid7_is_valid_and_carries_its_time(now: datetime) -> None:
    id = uuid7(now)
    assert (id.version, id.variant) == (7, "specified in RFC 4122")
    assert id.int >> 80 == int(now.timestamp() * 1000)
    assert uuid7(now + timedelta(milliseconds=2)) > id
    assert uuid7(now) != id


def test_ids_derived_from_keys_never_change() -> None:
    email = email_id_for_key("acme", "order-1")
    assert email == UUID("fd035919-0451-52c4-b2b7-28d8cb84d3d2")
    assert email_id_for_key("acme", "order-1", 0) == email
    assert email_id_for_key("acme", "order-1", 7) == UUID("c65785b0-1ed8-56a5-840a-d707feed8824")
    assert email_id_for_key("globex", "order-1") == UUID("c226e465-7b1a-5d5e-9837-4345df5746bc")
    assert recipient_id(email, 0) == UUID("fd035919-0451-52c4-b2b7-28d8cb84d3d3")


@given(
    st.lists(st.tuples(st.text("ab\u00e9", max_size=3), st.text("ab1", max_size=3), st.integers(0, 99)), unique=True)
)
@MANY
def test_no_two_keys_share_an_id(keys: list[tuple[str, str, int]]) -> None:
    assert len({email_id_for_key(*key) for key in keys}) == len(keys)


spans = st.timedeltas(timedelta(seconds=1), timedelta(days=2))
policies = st.builds(
    DeliveryPolicy,
    max_attempts=st.integers(1, 100),
    give_up_after=spans,
    first_retry=spans,
    longest_retry=spans,
)
troubles = st.builds(
    Trouble,
    error_class=st.sampled_from(ErrorClass),
    attempts=st.integers(1, 100),
    due_since=st.just(NOW) | st.just(NOW - timedelta(hours=30)),
    expires_at=st.none() | spans.map(lambda span: NOW + span),
    retry_after=st.none() | spans,
)
chances = st.floats(0, 1, exclude_max=True)


@given(policies, troubles, chances)
@MANY
def test_a_retry_is_never_too_soon_nor_past_any_limit(policy: DeliveryPolicy, trouble: Trouble, chance: float) -> None:
    match after_trouble(policy, trouble, NOW, chance):
        case RetryAt(at):
            assert trouble.error_class not in HOPELESS
            assert trouble.attempts < policy.max_attempts
            assert at >= NOW + (trouble.retry_after or timedelta(0))
            assert at >= NOW + backoff(policy, trouble.error_class, trouble.attempts) * 0.499
            assert trouble.expires_at is None or at < trouble.expires_at
            assert at < trouble.due_since + policy.give_up_after
        case GiveUp("rejected"):
            assert trouble.error_class in HOPELESS
        case GiveUp("retries_exhausted"):
            assert trouble.attempts >= policy.max_attempts
        case GiveUp("expired"):
            assert trouble.expires_at is not None
        case GiveUp(reason):
            assert reason == "too_old"


@given(policies, st.sampled_from(ErrorClass), st.integers(1, 1000))
@MANY
def test_backoff_doubles_up_to_its_bound(policy: DeliveryPolicy, error_class: ErrorClass, attempts: int) -> None:
    wait, next_wait = backoff(policy, error_class, attempts), backoff(policy, error_class, attempts + 1)
    assert policy.first_retry <= wait <= next_wait <= wait * 2
    slowest = max(policy.longest_retry, policy.first_retry, timedelta(hours=1))
    assert next_wait <= slowest


@given(policies, troubles, spans)
@MANY
def test_a_later_hint_of_the_provider_wins(policy: DeliveryPolicy, trouble: Trouble, hint: timedelta) -> None:
    hinted = Trouble(trouble.error_class, trouble.attempts, trouble.due_since, trouble.expires_at, hint)
    verdict = after_trouble(policy, hinted, NOW, 0.5)
    if isinstance(verdict, RetryAt) and hint >= backoff(policy, trouble.error_class, trouble.attempts):
        assert verdict.at == NOW + hint
