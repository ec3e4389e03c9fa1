"""HTML as plain text, for whoever gets a message without its HTML: readable, with every link and no markup.

It reads as browsers do, in one pass: the standard library's parser takes time that grows with the square of the length
of a document that means ill (CVE-2025-6069), and such a document would stop every worker in turn.
"""

import re
from collections.abc import Mapping
from html import unescape

# A quote only opens a value behind `=`. Possessive throughout: no match is final, and costs one look.
_TAG = re.compile(r"""</?([a-z][^\s/>]*+)((?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+'|(?!["'])))*+)>""", re.I)
_ATTRIBUTE = re.compile(r"""([^\s=/"']+)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'][^\s]*+))""")
_RAW = {tag: re.compile(f"</{tag}[^>]*+>", re.I) for tag in ("script", "style", "title", "textarea")}
_HIDDEN = frozenset({"head", "template", "noscript"})
_ENDS: Mapping[str, int] = {  # how many line ends there are around an element
    **dict.fromkeys(("div", "tr", "li", "ul", "ol", "section", "header", "footer", "dt", "dd"), 1),
    **dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "hr", "table"), 2),
}
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")  # what newsletters pad their previews with


def plain_text(html: str) -> str:
    """The text of a document: links as `text (URL)`, list items with a dash, tables by rows, images by their `alt`."""
    page = _Page()
    at = 0
    while (start := html.find("<", at)) >= 0:
        page.data(html[at:start])
        at = _past(html, start, page)
    page.data(html[at:])
    page.leave_link()
    return "".join(page.out)


def _past(html: str, start: int, page: "_Page") -> int:
    """Where the document goes on behind the `<` at `start`: at its end, when what begins there never ends."""
    if found := _TAG.match(html, start):
        tag, closing = found[1].lower(), html[start + 1] == "/"
        page.tag(tag, found[2], closing=closing)
        behind = found if closing or tag not in _RAW else _RAW[tag].search(html, found.end())
        return behind.end() if behind else len(html)
    following = html[start + 1 : start + 2]
    if following and following not in "!?/" and not (following.isascii() and following.isalpha()):
        page.data("<")
        return start + 1
    mark = "-->" if html.startswith("<!--", start) else ">"
    end = -1 if following.isalpha() else html.find(mark, start)
    return len(html) if end < 0 else end + len(mark)


class _Page:
    """What has been said so far."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._ends = 0  # line ends to come before the next word
        self._space = False
        self._bullet = ""
        self._hidden = ""  # the element around us that is not shown
        self._preformatted = False
        self._link = ("", 0)  # where the open link leads, and where its text begins

    def data(self, source: str) -> None:
        text = _INVISIBLE.sub("", unescape(source))
        if not text or self._hidden:
            return
        if self._preformatted:
            self._say(text.strip("\n"))
            return
        words = text.split()
        self._space |= text[0].isspace()
        if words:
            self._say(" ".join(words))
            self._space = text[-1].isspace()

    def tag(self, tag: str, attributes: str, *, closing: bool) -> None:
        if self._hidden and ((closing and tag == self._hidden) or tag == "body"):
            self._hidden = ""
        elif tag in _HIDDEN and not closing:
            self._hidden = tag
        if self._hidden:
            return
        ends = _ENDS.get(tag, 0) if not self._bullet else 0  # an item begins where its dash is
        self._ends = min(self._ends + 1, 2) if tag == "br" else max(self._ends, ends)
        self._space |= tag in ("td", "th")
        self._preformatted = not closing if tag == "pre" else self._preformatted
        self._bullet = "- " if tag == "li" and not closing else self._bullet
        if tag == "a":
            self.leave_link()
            self._link = ("" if closing else _attribute("href", attributes).strip(), len(self.out))
        elif tag == "img":
            self.data(_attribute("alt", attributes))

    def leave_link(self) -> None:
        """Say where it led, unless its text said so."""
        url, start = self._link
        text = "".join(self.out[start:]).strip()
        self._link = ("", len(self.out))
        if url and not url.startswith("#") and text not in (url, url.removeprefix("mailto:").removeprefix("tel:")):
            ends = self._ends if text else 0
            self._ends, self._space = (0, True) if text else (self._ends, self._space)
            self._say(f"({url})" if text else url)
            self._ends = ends

    def _say(self, words: str) -> None:
        if self.out:
            self.out.append("\n" * self._ends or " " * self._space)
        self.out.append(self._bullet + words)
        self._ends, self._space, self._bullet = 0, False, ""


def _attribute(name: str, attributes: str) -> str:
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return " ".join(unescape(found[2] or found[3] or found[4] or "").split())
    return ""
