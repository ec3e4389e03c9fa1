"""Templates of messages: known by name and content, tried out before anything is sent, and pure."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from application.concessions import Concessions
from application.errors import ConcessionLost
from application.routes import Route, RouteProvider
from infrastructure.message_templates import MessageTemplates, pinned

GIVEN = {"subject": "Hi & <b>", "text": "One\n\nTwo", "sender_name": "Shop"}
SIMPLE = """<h1>{{ subject }}</h1>
{% for line in text.split('\\n\\n') %}<p>{{ line }}</p>{% endfor %}<p>{{ sender_name }}</p>
"""


def templates(directory: Path, **files: str) -> MessageTemplates:
    for name, source in files.items():
        (directory / f"{name}.html").write_text(source)
    return MessageTemplates(directory)


def refusal(directory: Path, source: str) -> str:
    with pytest.raises(ValueError, match=r"broken\.html") as caught:
        templates(directory, broken=source).pinned("broken.html")
    return str(caught.value)


def test_a_template_is_named_by_its_content_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    known = templates(tmp_path, simple=SIMPLE)
    version = hashlib.sha256(SIMPLE.encode()).hexdigest()[:12]
    assert known.pinned("simple.html") == f"simple.html@{version}"
    assert known.pinned(f"simple.html@{version}") == f"simple.html@{version}"
    html = known.render(f"simple.html@{version}", GIVEN)
    assert html == "<h1>Hi &amp; &lt;b&gt;</h1>\n<p>One</p><p>Two</p><p>Shop</p>\n"


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("a\n{% for x in text %}\n{{", 3, "unexpected"),
        ("a\nb {{ subjekt }}", 2, "'subjekt' is not a variable of a message; these are: subject, text, sender_name"),
        ("{{ subject }}\n\n{% include 'x.html' %}", 3, "a template stands in one file"),
        ("{% extends 'x.html' %}", 1, "a template stands in one file"),
        ("x\n{{ text.nope.at_all }}", 2, "nope"),
        ("x\n{{ text | random }}", 2, "random"),
        ("{{ lipsum() }}", 1, "lipsum"),
        ("x\n{{ subject.__class__.__mro__ }}", 2, "unsafe"),
        ("x\n\n{{ 1 / 0 }}", 3, "zero"),
        ("{{ range(10 ** 9) | list }}", 1, "too big"),
    ],
)
def test_a_broken_template_is_refused_with_its_line(tmp_path: Path, source: str, line: int, said: str) -> None:
    refused = refusal(tmp_path, source)
    assert refused.startswith(f"broken.html, line {line}: ")
    assert said in refused


def test_a_template_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file gone\.html"):
        MessageTemplates(tmp_path).pinned("gone.html")
    with pytest.raises(ValueError, match="directory that has gone"):
        MessageTemplates(None).pinned("gone.html")
    with pytest.raises(ValueError, match="of version"):
        templates(tmp_path, simple="x").pinned("simple.html@000000000000")
    with pytest.raises(FileNotFoundError):
        MessageTemplates(tmp_path / "gone")


def test_an_earlier_version_is_found_for_as_long_as_it_lies_there(tmp_path: Path) -> None:
    earlier = templates(tmp_path, simple="<p>old {{ subject }}</p>").pinned("simple.html")
    (tmp_path / "simple.html").rename(tmp_path / "simple-2025.html")
    now = templates(tmp_path, simple="<p>new {{ subject }}</p>")
    assert now.render(earlier, GIVEN) == "<p>old Hi &amp; &lt;b&gt;</p>"
    assert now.render(now.pinned("simple.html"), GIVEN).startswith("<p>new")
    (tmp_path / "simple-2025.html").unlink()
    with pytest.raises(ConcessionLost):
        MessageTemplates(tmp_path).render(earlier, GIVEN)


def test_a_template_that_fails_on_one_message_says_where_and_not_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = templates(tmp_path, odd="<p>\n{{ 1 / (text.count('x') - 3) }}</p>")
    name = known.pinned("odd.html")
    with pytest.raises(ConcessionLost):
        known.render(name, {**GIVEN, "text": "xxx secret"})
    assert "line 2" in caplog.text
    assert "secret" not in caplog.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text(), st.text())
def test_the_same_values_make_the_same_document_and_no_markup(
    tmp_path: Path, subject: str, text: str, sender_name: str
) -> None:
    variables = {"subject": subject, "text": text, "sender_name": sender_name}
    one, other = templates(tmp_path, simple=SIMPLE), templates(tmp_path, simple=SIMPLE)
    html = one.render(one.pinned("simple.html"), variables)
    assert html == other.render(other.pinned("simple.html"), variables)
    assert html.count("<") == 4 + 2 * len(text.split("\n\n"))


def test_routes_name_the_version_they_began_with(tmp_path: Path) -> None:
    known = templates(tmp_path, simple=SIMPLE)
    plain = RouteProvider(name="main", concessions=Concessions(text_only=True))
    fancy = RouteProvider(name="backup", concessions=Concessions(template="simple.html", tracking=False))
    (route,) = pinned([Route(providers=(plain, fancy, RouteProvider(name="last")))], known)
    words = [provider.concessions.words if provider.concessions else None for provider in route.providers]
    assert words == [("text_only",), ("no_tracking", f"template:{known.pinned('simple.html')}"), None]
