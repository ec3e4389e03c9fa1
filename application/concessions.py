"""Concessions: what one provider of a route gives up of a message, so that it can go out all the same.

A route has them as data. An attempt has them as words, which are recorded with it before the provider is called, and
the message is made from the stored content and these words alone: a look-up asks for what was sent, and whoever reads
the history later can see, and make again, what somebody got.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape, unescape
from typing import Protocol, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from application.attachment_links import AttachmentLinks
from application.errors import ConcessionLost
from application.fields import Size
from application.plain_text import plain_text
from domain.content import Content
from domain.events import AttachmentRef, EmailQueued

_NAME_AND_VERSION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[0-9a-f]{12})?$"


class Concessions(BaseModel):
    """What a provider of a route gives up."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tracking: bool = Field(default=True, description="false: open and click tracking are switched off.")
    text_only: bool = Field(default=False, description="true: without HTML, and without the images in it.")
    template: str | None = Field(
        default=None, pattern=_NAME_AND_VERSION, description="The HTML is made anew from this file of `template_dir`."
    )
    link_attachments_over: Size | None = Field(
        default=None, description="Larger attachments stay here, and the message has a link: bytes, or such as 5MB."
    )

    @model_validator(mode="after")
    def _make_sense_together(self) -> Self:
        if self.text_only and self.template:
            raise PydanticCustomError("concessions", "text_only leaves no HTML for a template: remove one of the two")
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """As they are recorded with an attempt."""
        said: Mapping[str, object] = {
            "no_tracking": not self.tracking,
            "text_only": self.text_only,
            f"template:{self.template}": self.template,
            f"links_over:{self.link_attachments_over}": self.link_attachments_over is not None,
        }
        return tuple(word for word, given_up in said.items() if given_up)

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        """What was recorded. Raises ConcessionLost for words that this version does not know."""
        said: dict[str, object] = {}
        try:
            for word in words:
                name, _, value = word.partition(":")
                field, read = _WORDS[name]
                said[field] = read(value)
            return cls.model_validate(said)
        except (KeyError, ValueError):
            raise ConcessionLost from None


_WORDS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "no_tracking": ("tracking", lambda _: False),
    "text_only": ("text_only", lambda _: True),
    "template": ("template", str),
    "links_over": ("link_attachments_over", int),
}


class Templates(Protocol):
    """The templates that HTML is made anew from."""

    def render(self, template: str, variables: Mapping[str, str]) -> str:
        """The HTML by `NAME@VERSION`. Raises ConcessionLost when that version is not here, or fails."""
        ...


@dataclass(frozen=True, slots=True)
class Reduced:
    """A message as an attempt sends it."""

    email: EmailQueued  # with the attachments that are left
    content: Content
    tracking: bool = True  # whether the provider may track opens and clicks


class Conceding:
    """Makes the message of an attempt."""

    def __init__(self, templates: Templates | None = None, links: AttachmentLinks | None = None) -> None:
        self._templates = templates
        self._links = links

    def __call__(self, whole: Reduced, since: datetime, words: Sequence[str]) -> Reduced:
        """The email without what the words give up. `since` is when it first was due: links count from there.

        Pure. Raises ConcessionLost when it cannot be made (any more).
        """
        given_up = Concessions.of(words)
        reduced = replace(whole, tracking=given_up.tracking)
        reduced = self._in_other_html(_in_text(reduced) if given_up.text_only else reduced, given_up.template)
        return self._linked(_without_unshown(whole, reduced), given_up.link_attachments_over, since)

    def _in_other_html(self, message: Reduced, template: str | None) -> Reduced:
        content = message.content
        if template is None or content.html is None:
            return message
        if self._templates is None:
            raise ConcessionLost
        text = content.text if content.text is not None else plain_text(content.html)
        sender_name = message.email.sender.name
        variables = {"subject": message.email.subject, "text": text, "sender_name": sender_name}
        html = self._templates.render(template, variables)
        return replace(message, content=content.model_copy(update={"html": html}))

    def _linked(self, message: Reduced, limit: int | None, since: datetime) -> Reduced:
        """Inline images stay: they are part of the text."""
        email = message.email
        large = [] if limit is None else [a for a in email.attachments if a.size > limit and not a.content_id]
        if not large:
            return message
        if self._links is None:
            raise ConcessionLost
        notes = [(_note(each), self._links.url(email.originator_id, each.sha256, since)) for each in large]
        left = tuple(each for each in email.attachments if each not in large)
        content = message.content.model_copy(update=_with_notes(message.content, notes))
        return replace(message, email=email.model_copy(update={"attachments": left}), content=content)


def _in_text(message: Reduced) -> Reduced:
    html, text = message.content.html, message.content.text
    if html is None:
        return message
    if not (text or "").strip():
        text = plain_text(html) or message.email.subject
    return replace(message, content=message.content.model_copy(update={"html": None, "text": text}))


_CID = re.compile(r"""\bcid:([^\s"'<>)]+)""", re.I)


def _without_unshown(whole: Reduced, reduced: Reduced) -> Reduced:
    """Images that were shown in the HTML and no longer are would be attachments that nobody understands."""
    gone = _shown(whole.content.html) - _shown(reduced.content.html)
    left = tuple(a for a in reduced.email.attachments if a.content_id not in gone)
    if len(left) == len(reduced.email.attachments):
        return reduced
    return replace(reduced, email=reduced.email.model_copy(update={"attachments": left}))


def _shown(html: str | None) -> set[str]:
    """The content ids that a document refers to, as written and as decoded."""
    found = {unescape(id) for id in _CID.findall(html or "")}
    return found | {unquote(id) for id in found}


_END = re.compile("</(body|html)", re.I)
_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")  # no turned writing
Notes = list[tuple[str, str]]  # what is left out, and its link


def _note(attachment: AttachmentRef) -> str:
    return f"Attachment left out: {_ONE_LINE.sub(' ', attachment.filename).strip()} ({_size(attachment.size)})"


def _size(size: int) -> str:
    if size < 1 << 20:
        return f"{max(1, round(size / (1 << 10)))} KB" if size >= 1 << 10 else f"{size} bytes"
    return f"{size / (1 << 20):.1f} MB"


def _with_notes(content: Content, notes: Notes) -> dict[str, str]:
    """The texts there are, each with the notes at its end."""
    said: dict[str, str] = {}
    if content.html is not None:
        said["html"] = _before_its_end(content.html, notes)
    if content.text is not None or content.html is None:
        lines = "".join(f"{note}: {url}\n" for note, url in notes)
        said["text"] = f"{(content.text or '').rstrip()}\n\n{lines}".lstrip("\n")
    return said


def _before_its_end(html: str, notes: Notes) -> str:
    lines = "".join(f'<p>{escape(note)}: <a href="{escape(url)}">{escape(url)}</a></p>\n' for note, url in notes)
    ends = {found[1].lower(): found.start() for found in _END.finditer(html)}  # the last one of each
    end = ends.get("body", ends.get("html", len(html)))
    return html[:end] + lines + html[end:]
