"""HTML as plain text: what a reader would see, in one pass over whatever there is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.plain_text import plain_text

LETTER = """<!DOCTYPE html>
<html><head><title>Your order</title><style>p { color: red }</style></head>
<body><!-- preview --><h1>Thank  you &amp; welcome</h1>
<p>See <a href="https://shop.example/o?a=1&amp;b=2">your <b>order</b></a>.<br>Or write to
<a href="mailto:help@shop.example">help@shop.example</a>.</p>
<ul><li>One</li><li><p>Two</p></ul>
<table><tr><th>Item</th><th>Price</th></tr><tr><td>Tea</td><td>4.00</td></tr></table>
<script>alert("no")</script><pre>a
   b</pre><img src="cid:logo" alt="The shop"></body></html>"""


def test_a_letter_reads_as_it_looks() -> None:
    assert plain_text(LETTER).splitlines() == [
        *("Thank you & welcome", ""),
        "See your order (https://shop.example/o?a=1&b=2).",
        *("Or write to help@shop.example.", ""),
        *("- One", "- Two", ""),
        *("Item Price", "Tea 4.00", ""),
        *("a", "   b", "", "The shop"),
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("just text", "just text"),
        ("1 < 2 &lt; 3", "1 < 2 < 3"),
        ("a <b>bold</b>, quiet", "a bold, quiet"),
        ('<p title="a > b">x</p>', "x"),
        ("<p>don't</p><p>won't</p>", "don't\n\nwon't"),
        ("<p class=don't>x</p>", "x"),
        ("<A HREF='https://x.example'>X</A>", "X (https://x.example)"),
        ("<a href=https://x.example>https://x.example</a>", "https://x.example"),
        ("<a href='#top'>up</a>", "up"),
        ("<a href='https://x.example'><img src=x alt=Shop></a>", "Shop (https://x.example)"),
        ("<a href='https://x.example'><img src=x></a>", "https://x.example"),
        ("<a href='https://x.example'><div>X</div></a>next", "X (https://x.example)\nnext"),
        ("<a title='href=no' href='yes:1'>x</a>", "x (yes:1)"),
        ("<a href='one'>x<a href='two'>y", "x (one)y (two)"),
        ("<head><meta x>unseen<body>seen", "seen"),
        ("<head>unseen</head>seen", "seen"),
        ("<textarea><b>", ""),
        ("<script>if (a<b) '</p>'</SCRIPT >seen", "seen"),
        ("<style>never closed", ""),
        ("<!--[if mso]><p>x</p><![endif]-->y<![if !mso]>z<![endif]>", "yz"),
        ("x<!-- never closed", "x"),
        ("x<a href='never closed", "x"),
        ("a&shy;b\u200b\u200bc", "abc"),
        ("a&nbsp;b", "a b"),
        ("&#0;&#x110000;&nosuch;", "\ufffd\ufffd&nosuch;"),
        ("<br><br><br><br>x<br><br><br>y", "x\n\ny"),
    ],
)
def test_odd_html_is_read_as_browsers_do(html: str, text: str) -> None:
    assert plain_text(html) == text


@given(st.text(alphabet="<>/!-='\"& ab\n", max_size=200))
def test_anything_has_a_text(html: str) -> None:
    assert not re.search(r"\n{3}", plain_text(html.replace("\n", " ")))


@given(st.text(alphabet=st.characters(exclude_characters="<&\u00ad\u2060\ufeff", exclude_categories=["Cs"])))
def test_text_stays_text(text: str) -> None:
    assert plain_text(text).split() == re.sub("[\u200b-\u200d]", "", text).split()


@pytest.mark.parametrize(
    "piece", ["<a ", "<", "</", "<!--", "<!", "<?", "<a x='", '<a "', "<a href='x'>", "<head>", "&#"]
)
def test_nothing_takes_long(piece: str) -> None:
    """What is quadratic, such as the standard library's parser, is not back from this for a long time."""
    assert len(plain_text(piece * (100_000 // len(piece)))) <= 100_000
