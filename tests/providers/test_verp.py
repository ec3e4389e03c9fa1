"""Tokens in bounce addresses."""

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import recipient_id
from infrastructure.providers import verp, xtext
from tests.mail import EMAIL_ID

KEY, OLD = b"a key of ours", b"the key before"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ids = st.uuids()
indexes = st.integers(0, 65_535)


@given(st.binary(min_size=1), ids, indexes)
def test_a_token_names_its_recipient(key: bytes, email_id: UUID, index: int) -> None:
    token = verp.make(key, email_id, index)
    assert (len(token), token) == (verp.LENGTH, token.lower())
    named = verp.verify([key], token)
    assert named == verp.read(token) == verp.Named(email_id, recipient_id(email_id, index))
    assert verp.index_of(email_id, named.recipient_id) == index


@given(ids, indexes, st.data())
def test_a_changed_character_is_found_out(email_id: UUID, index: int, data: st.DataObject) -> None:
    token = verp.make(KEY, email_id, index)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(ALPHABET).filter(lambda character: character != token[place]))
    assert verp.verify([KEY], token[:place] + other + token[place + 1 :]) is None


def test_the_last_characters_spare_bit_is_not_free() -> None:
    token = verp.make(KEY, EMAIL_ID, 0)
    twin = ALPHABET[ALPHABET.index(token[-1]) ^ 1]
    assert verp.verify([KEY], token[:-1] + twin) is None


@given(ids, indexes, st.data())
def test_servers_may_fold_the_case(email_id: UUID, index: int, data: st.DataObject) -> None:
    token = verp.make(KEY, email_id, index)
    upper = data.draw(st.lists(st.booleans(), min_size=len(token), max_size=len(token)))
    assert verp.verify([KEY], "".join(c.upper() if u else c for c, u in zip(token, upper, strict=True)))


def test_keys_can_be_replaced() -> None:
    token = verp.make(OLD, EMAIL_ID, 3)
    assert verp.verify([KEY, OLD], token)
    assert verp.verify([OLD, KEY], token)
    assert verp.verify([KEY], token) is None
    assert verp.verify([], token) is None


@given(st.text() | st.text(ALPHABET, min_size=verp.LENGTH, max_size=verp.LENGTH) | st.text(min_size=45, max_size=45))
def test_nothing_else_is_a_token(text: str) -> None:
    assert verp.verify([KEY], text) is None
    verp.read(text)


def test_an_id_made_otherwise_has_no_number() -> None:
    assert verp.index_of(EMAIL_ID, EMAIL_ID) is None
    assert verp.index_of(EMAIL_ID, UUID(int=EMAIL_ID.int ^ (1 << 100))) is None
    assert verp.index_of(EMAIL_ID, recipient_id(EMAIL_ID, 65_536)) is None


def test_candidates_stand_alone() -> None:
    token = verp.make(KEY, EMAIL_ID, 0)
    text = f"<bounces+{token.upper()}@x>\r\n{token}\nx{token} {token}1 {token}=\xe4".encode("latin-1")
    assert list(verp.candidates(text)) == [token]


@pytest.mark.parametrize("text", [b"a" * 5_000_000, (b"a" * 45 + b" ") * 100_000, (b"a" * 44 + b"!") * 100_000])
def test_candidates_are_found_in_linear_time(text: bytes) -> None:
    begun = time.monotonic()
    for token in verp.candidates(text):
        verp.verify([KEY, OLD], token)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("ada@example.com", "rfc822;ada@example.com"),
        ("ada+a=b@example.com", "rfc822;ada+2Ba+3Db@example.com"),
        ('"a b"@example.com', 'rfc822;"a+20b"@example.com'),
        ("büro+1@bücher.example", r"utf-8;b\x{FC}ro\x{2B}1@b\x{FC}cher.example"),
        ("a\\b\N{GRINNING FACE}@example.com", r"utf-8;a\x{5C}b\x{1F600}@example.com"),
    ],
)
def test_an_address_as_original_recipient(address: str, written: str) -> None:
    assert xtext.original_recipient(address) == written
    if " " not in address:
        assert xtext.decoded(written.partition(";")[2]) == address


@given(st.text())
def test_any_text_is_decoded_somehow(text: str) -> None:
    xtext.decoded(text)
    assert xtext.decoded(r"\x{D800}\x{FFFFFF}") == "\ufffd\ufffd"
