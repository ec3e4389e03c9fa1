"""Concessions: what of a message a provider is not given, and that the words with an attempt say all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from application.attachment_links import AttachmentLinks
from application.concessions import Conceding, Concessions, Reduced
from application.errors import ConcessionLost
from domain.address import Mailbox
from domain.content import Content
from domain.events import AttachmentRef
from tests.mail import attach, outgoing
from tests.samples import NOW

LINKS = AttachmentLinks("https://mail.example.com", [b"a-key-that-signs-links"], timedelta(days=30))
LOGO = attach(b"png" * 900, "logo.png", "image/png", "logo")
BILL = attach(b"%PDF" * 2_000, "bill.pdf")
NOTE = attach(b"short", "note.txt", "text/plain")
FILES = (LOGO, BILL, NOTE)
HTML = '<html><body><p>Hello <b>Ada</b> <img src="cid:logo"></p></body></html>'
ALL_WORDS = ("no_tracking", "template:simple.html@0123456789ab", "links_over:5000")


@dataclass
class FakeTemplates:
    """Implements the port Templates with what a test puts in."""

    known: Mapping[str, str] = field(
        default_factory=lambda: {"simple.html@0123456789ab": "{subject}|{text}|{sender_name}"}
    )

    def render(self, template: str, variables: Mapping[str, str]) -> str:
        if template not in self.known:
            raise ConcessionLost
        return f"<p>{self.known[template].format(**variables)}</p>"


CONCEDING = Conceding(FakeTemplates(), LINKS)


def whole(
    html: str | None = HTML, text: str | None = "Hello Ada", files: Sequence[Any] = FILES, **fields: Any
) -> Reduced:
    message = outgoing(content=Content(html=html, text=text, headers={"X-A": "b"}), attachments=files, **fields)
    return Reduced(message.email, message.content)


def given_up(*words: str, of: Reduced | None = None) -> Reduced:
    return CONCEDING(of or whole(), NOW, words)


def names(reduced: Reduced) -> list[str]:
    return [each.filename for each in reduced.email.attachments]


# -- as data, and as words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ()),
        ({"tracking": True, "text_only": False}, ()),
        ({"tracking": False, "text_only": True}, ("no_tracking", "text_only")),
        ({"template": "simple.html@0123456789ab"}, ("template:simple.html@0123456789ab",)),
        ({"link_attachments_over": "5MB"}, ("links_over:5242880",)),
        ({"link_attachments_over": "500 kb"}, ("links_over:512000",)),
        ({"link_attachments_over": 0}, ("links_over:0",)),
    ],
)
def test_what_is_given_up_has_words(data: Mapping[str, Any], words: Sequence[str]) -> None:
    concessions = Concessions.model_validate(data)
    assert concessions.words == words
    assert Concessions.of(words) == concessions


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"link_attachments_over": "big"}, "size"),
        ({"link_attachments_over": -1}, "greater than or equal to 0"),
        ({"template": "../etc/passwd"}, "pattern"),
        ({"template": "a.html", "text_only": True}, "no HTML for a template"),
        ({"html": False}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(data: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Concessions.model_validate(data)


@given(
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.from_regex(r"[a-z]{1,9}@[0-9a-f]{12}", fullmatch=True),
)
def test_the_words_say_everything(tracking: bool, text_only: bool, over: int | None, template: str | None) -> None:
    concessions = Concessions(
        tracking=tracking,
        text_only=text_only and template is None,
        template=template,
        link_attachments_over=over,
    )
    assert Concessions.of(concessions.words) == concessions


@pytest.mark.parametrize("word", ["no_attachments", "links_over:", "links_over:x", "template:", "template:/etc", ""])
def test_words_of_another_version_are_not_guessed(word: str) -> None:
    with pytest.raises(ConcessionLost):
        given_up(word)


# -- what becomes of the message


def test_tracking_is_the_adapters_to_switch_off() -> None:
    assert given_up("no_tracking") == replace(whole(), tracking=False)


def test_text_only_leaves_out_html_and_the_images_in_it() -> None:
    reduced = given_up("text_only")
    assert (reduced.content.html, reduced.content.text) == (None, "Hello Ada")
    assert reduced.content.headers == {"X-A": "b"}
    assert names(reduced) == ["bill.pdf", "note.txt"]
    assert reduced.tracking


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_without_a_text_one_is_made_of_the_html(text: str | None) -> None:
    assert given_up("text_only", of=whole(text=text)).content.text == "Hello Ada"


def test_html_that_says_nothing_leaves_the_subject() -> None:
    assert given_up("text_only", of=whole('<img src="cid:logo">', None)).content.text == "Hello"


def test_a_file_with_a_content_id_that_is_not_shown_is_a_file() -> None:
    plain = whole("<p>Hello</p>")
    assert names(given_up("text_only", of=plain)) == ["logo.png", "bill.pdf", "note.txt"]
    without_html = whole(None)
    assert given_up("text_only", of=without_html) == without_html


@pytest.mark.parametrize(
    "html", ["<img src='CID:logo'>", "<img src=cid:%6Cogo>", "<p style='background:url(cid:logo)'>"]
)
def test_an_image_is_shown_however_it_is_referred_to(html: str) -> None:
    assert names(given_up("text_only", of=whole(html))) == ["bill.pdf", "note.txt"]


def test_a_template_takes_the_place_of_the_html() -> None:
    email = whole(sender=Mailbox(address="a@b.example", name="Shop"))
    reduced = given_up("template:simple.html@0123456789ab", of=email)
    assert reduced.content.html == "<p>Hello|Hello Ada|Shop</p>"
    assert reduced.content.text == "Hello Ada"
    assert names(reduced) == ["bill.pdf", "note.txt"], "what only the old HTML showed is gone with it"


def test_a_template_is_given_a_text_of_the_html_where_there_is_no_other() -> None:
    reduced = given_up("template:simple.html@0123456789ab", of=whole(text=None))
    assert reduced.content == Content(html="<p>Hello|Hello Ada|</p>", headers={"X-A": "b"})


def test_mail_without_html_needs_no_template() -> None:
    assert given_up("template:gone.html@000000000000", of=whole(None)) == whole(None)


def test_large_attachments_become_links_at_the_end_of_text_and_html() -> None:
    reduced = given_up("links_over:5000")
    assert names(reduced) == ["logo.png", "note.txt"]
    url = LINKS.url(reduced.email.originator_id, BILL[0].sha256, NOW)
    assert reduced.content.text == f"Hello Ada\n\nAttachment left out: bill.pdf (8 KB): {url}\n"
    html = reduced.content.html or ""
    shown = url.replace("&", "&amp;")
    line = f'<p>Attachment left out: bill.pdf (8 KB): <a href="{shown}">{shown}</a></p>\n'
    assert html == HTML.replace("</body>", f"{line}</body>")


@pytest.mark.parametrize(
    ("html", "around"),
    [
        ("<p>x</p>", "<p>x</p>|"),
        ("<BODY>x</BODY >\n</html>\n", "<BODY>x|</BODY >\n</html>\n"),
        ("<html>x</html>", "<html>x|</html>"),
        ("<body>&lt;/body>x</body><!-- sent -->", "<body>&lt;/body>x|</body><!-- sent -->"),
        ("<body>İ</body>", "<body>İ|</body>"),
    ],
)
def test_the_note_stands_where_a_reader_sees_it(html: str, around: str) -> None:
    linked = given_up("links_over:5000", of=whole(html)).content.html or ""
    before, _, behind = around.partition("|")
    assert linked.startswith(f"{before}<p>Attachment left out: ")
    assert linked.endswith(f"</p>\n{behind}")


@pytest.mark.parametrize(("html", "text"), [(None, None), (None, "x"), ("<p>x</p>", None), ("<p>x</p>", "x")])
def test_every_reader_finds_the_link(html: str | None, text: str | None) -> None:
    content = given_up("links_over:5000", of=whole(html, text)).content
    told = [part for part in (content.html, content.text) if part is not None]
    assert told
    assert all("https://mail.example.com/attachments/" in part for part in told)
    assert (content.html is None) == (html is None)


def test_the_limit_itself_is_not_over_it() -> None:
    size = BILL[0].size
    assert names(given_up(f"links_over:{size}")) == ["logo.png", "bill.pdf", "note.txt"]
    assert names(given_up(f"links_over:{size - 1}")) == ["logo.png", "note.txt"]


def test_images_in_the_text_are_never_links() -> None:
    assert names(given_up("links_over:0")) == ["logo.png"]


def test_a_name_cannot_write_into_the_message() -> None:
    files = [attach(b"x" * 6_000, '<b onclick="x">\u202efdp.exe')]
    content = given_up("links_over:5000", of=whole(files=files)).content
    assert "<b onclick" not in (content.html or "")
    assert "\u202e" not in f"{content.html}{content.text}"


@pytest.mark.parametrize(("size", "said"), [(7_444_889, "7.1 MB"), (5_100, "5 KB"), (900, "900 bytes")])
def test_a_size_is_said_as_people_say_it(size: int, said: str) -> None:
    reference = AttachmentRef(sha256="f" * 64, size=size, filename="x", content_type="a/b")
    email = whole(files=[(reference, b"")])
    assert f"x ({said}): https://" in (given_up("links_over:1", of=email).content.text or "")


def test_text_alone_has_the_links_too() -> None:
    reduced = given_up("text_only", "links_over:5000", of=whole(text=None))
    assert (reduced.content.text or "").startswith("Hello Ada\n\nAttachment left out: bill.pdf")
    assert names(reduced) == ["note.txt"]


@pytest.mark.parametrize(
    "word", ["template:simple.html@0123456789ab", "links_over:1", "template:old.html@111111111111"]
)
def test_what_cannot_be_made_is_said(word: str) -> None:
    with pytest.raises(ConcessionLost):
        Conceding(FakeTemplates({}) if "old" in word else None)(whole(), NOW, [word])


@given(st.permutations(ALL_WORDS), st.text(), st.text())
def test_the_same_words_make_the_same_message(words: Sequence[str], html: str, text: str) -> None:
    email = whole(html, text)
    assert CONCEDING(email, NOW, words) == Conceding(FakeTemplates(), LINKS)(email, NOW, ALL_WORDS)


def test_the_stored_email_is_left_as_it_is() -> None:
    email = whole()
    before = (email.email.model_dump_json(), email.content.model_dump_json())
    given_up(*ALL_WORDS, of=email)
    assert (email.email.model_dump_json(), email.content.model_dump_json()) == before
