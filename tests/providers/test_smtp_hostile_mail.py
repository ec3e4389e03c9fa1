"""Whatever comes to a bounce address is read as something, and soon."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.feedback import Feedback
from infrastructure.providers.dsn import translate_message
from tests.providers.received import TOKEN, arf, block, dsn, plain

PAYLOADS = Path(__file__).parent / "payloads" / "smtp"
SAMPLES = [path.read_bytes() for path in sorted(PAYLOADS.glob("*.eml"))]
PIECES = [piece for sample in SAMPLES for piece in sample.splitlines(keepends=True)]


def sound(found: list[Feedback]) -> None:
    assert found
    for each in found:
        assert isinstance(each, Feedback)
        assert each.keys
        for text in (each.words, each.recipient, each.provider_type, each.provider_message_id, each.reason):
            assert len((text or "").encode()) <= 4000
            assert "\0" not in (text or "")


@given(st.binary() | st.lists(st.sampled_from(PIECES) | st.binary(max_size=20)).map(b"".join))
def test_any_bytes_are_read_as_something(body: bytes) -> None:
    sound(translate_message(body))


@given(st.sampled_from(SAMPLES), st.integers(0), st.integers(0, 40), st.binary(max_size=40))
def test_a_damaged_report_is_read_as_something(sample: bytes, place: int, length: int, other: bytes) -> None:
    at = place % len(sample)
    sound(translate_message(sample[:at] + other + sample[at + length :]))


def test_strange_charsets_and_encodings() -> None:
    for charset in ("nonsense", "punycode", "hex", "undefined", "utf-16\0"):
        for encoding in ("base64", "quoted-printable", "x-uuencode", "8bit"):
            head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}"
            sound(translate_message(f"From: mailer-daemon\n{head}\n\nuser=unknown\n".encode() + b"\xff\xd8=ZZ="))


SIZE = 5_000_000


def nested(levels: int) -> bytes:
    heads = (f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(levels))
    return "".join(heads).encode()


@pytest.mark.parametrize(
    "body",
    [
        lambda: b"\n" * SIZE,
        lambda: b"a:\n" * (SIZE // 3),
        lambda: b" \n" * (SIZE // 2),
        lambda: b"To: " + b"+" * SIZE,
        lambda: b"To: " + (b"+" + TOKEN.encode()) * (SIZE // 46),
        lambda: b"Content-Type: text/plain" + b";a=" * (SIZE // 3),
        lambda: b"Content-Type: " + b"; " * (SIZE // 2),
        lambda: nested(1000) + b"\n" * SIZE,
        lambda: nested(6) + b"--b5\n" * (SIZE // 5),
        lambda: nested(6) + b"--b5\na:\n\n" * (SIZE // 9),
        lambda: nested(6) + b"--b55\n" * (SIZE // 6),
        lambda: (
            b"Content-Type: multipart/x; boundary=b\n\n" + b"--b\nContent-Type: multipart/x; boundary=b\n\n" * 100_000
        ),
        lambda: dsn(*[block("failed", "5.1.1")] * 40_000),
        lambda: dsn(block("failed", "5.1.1", "smtp; " + "550 " * 1_000_000)),
        lambda: dsn("Action: failed\n" + " x\n" * 1_000_000),
        lambda: plain("-" * SIZE),
        lambda: plain("--- " * (SIZE // 4)),
        lambda: plain(" " * SIZE),
        lambda: plain("\n" * SIZE),
        lambda: plain("5.1." * (SIZE // 4)),
        lambda: plain("550 " * (SIZE // 4)),
        lambda: plain("a@" * (SIZE // 2)),
        lambda: plain("sending limit daily " * (SIZE // 20)),
        lambda: plain("=" * SIZE, Content_Transfer_Encoding="quoted-printable"),
        lambda: plain("A" * SIZE, Content_Transfer_Encoding="base64"),
        lambda: plain("x", Subject="auto" * (SIZE // 4), From="postmaster" * (SIZE // 10)),
        lambda: plain("x", Date="1 " * (SIZE // 2), X_Failed_Recipients="a@" * (SIZE // 2)),
        lambda: arf("abuse " * (SIZE // 6)),
    ],
)
def test_huge_mail_takes_no_time(body: Callable[[], bytes]) -> None:
    mail = body()
    begun = time.process_time()
    sound(translate_message(mail))
    assert time.process_time() - begun < 2
