"""The documents hold: what they name is there, and the pages on providers say what the code does, all of it."""

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from infrastructure.cli import main
from infrastructure.provider_table import PROVIDERS, make_provider
from infrastructure.providers import arf, dsn, mailgun, postmark, resend_webhooks, sendgrid, ses_events
from infrastructure.settings import Settings, load_settings
from tests.mail import NOW

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PROVIDERS_PAGE = (ROOT / "docs/providers.md").read_text()
ADDING_PAGE = (ROOT / "docs/adding-a-provider.md").read_text()
PIGEON = (ROOT / "tests/docs_pigeon.py").read_text()
RIG = (ROOT / "tests/test_docs_pigeon.py").read_text()

_HEADINGS = re.compile(r"^## .*\((.*://.*)\)$", re.M)
_SCHEME = re.compile(r"`([a-z]+)://`")
_URL = re.compile(rf"\b(?:{'|'.join(PROVIDERS)})://[^\s`|\"]+")
_OPTION = re.compile(r"^\| `(\w+)` \|", re.M)


def sections() -> Mapping[str, str]:
    """The section on each scheme; one section may be about two."""
    found: dict[str, str] = {}
    for heading, text in zip(_HEADINGS.finditer(PROVIDERS_PAGE), _HEADINGS.split(PROVIDERS_PAGE)[2::2], strict=True):
        found |= dict.fromkeys(_SCHEME.findall(heading[1]), text.partition("\n## ")[0])
    return found


SECTIONS = sections()
MINIMAL = {
    "smtp": "smtp://host?",
    "smtps": "smtps://host?",
    "sendgrid": "sendgrid://KEY@default?",
    "mailgun": "mailgun://KEY@default?domain=mg.example.com&",
    "ses": "ses://default?region=eu-west-1&",
    "postmark": "postmark://TOKEN@default?",
    "resend": "resend://KEY@default?",
}


def options(scheme: str) -> set[str]:
    """Those that the code knows, as it names them when it is given another."""
    if scheme == "sandbox":
        return {"dir"}  # which takes any other for nothing
    with pytest.raises(ValueError, match="these are: ") as refusal:
        make_provider("x", f"{MINIMAL[scheme]}no_such_option=1", lambda: NOW)
    return set(str(refusal.value).partition("these are: ")[2].split(", "))


def test_every_kind_of_provider_has_a_section() -> None:
    assert set(SECTIONS) == set(PROVIDERS)


@pytest.mark.parametrize("heading", ["**Sending.**", "**Feedback.**"])
def test_every_kind_of_provider_has_a_row_in_the_tables(heading: str) -> None:
    table = PROVIDERS_PAGE.partition(heading)[2].partition("\n|")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` ", table, re.M)) == set(PROVIDERS) - {"smtps"}


@pytest.mark.parametrize("scheme", PROVIDERS)
def test_every_option_is_told_and_no_other(scheme: str) -> None:
    table = SECTIONS[scheme].partition("| option | default | meaning |")[2].partition("\n\n")[0]
    told = _OPTION.findall(table)
    assert sorted(told) == sorted(options(scheme))


@pytest.mark.parametrize("url", sorted(set(_URL.findall(PROVIDERS_PAGE + (ROOT / "README.md").read_text()))))
def test_every_url_makes_a_provider(url: str) -> None:
    if url not in {f"{scheme}://" for scheme in PROVIDERS}:
        assert make_provider("x", url, lambda: NOW).name == "x"


@pytest.mark.parametrize("scheme", PROVIDERS)
def test_every_kind_of_provider_has_an_example(scheme: str) -> None:
    assert [url for url in _URL.findall(SECTIONS[scheme]) if url.startswith(f"{scheme}://")]


WORDS: Mapping[str, set[str]] = {
    "smtp": {*dsn.FEEDBACK, *arf.FEEDBACK},
    "sendgrid": {*sendgrid.FEEDBACK},
    "mailgun": {*mailgun.FEEDBACK},
    "ses": {*ses_events.FEEDBACK},
    "postmark": {word.lower() for word in postmark.FEEDBACK},
    "resend": {*resend_webhooks.FEEDBACK},
}


@pytest.mark.parametrize("scheme", WORDS)
def test_every_word_of_a_provider_is_explained(scheme: str) -> None:
    rows = re.findall(r"^\| (`.*|DSN .*|ARF .*) \|$", SECTIONS[scheme].partition("| ours |")[2], re.M)
    told = {word.lower() for row in rows for word in re.findall(r"`([^`]+)`", row)}
    assert WORDS[scheme] - told == set()


# -- adding a provider


def test_the_page_shows_the_whole_example() -> None:
    shown = [block.strip() for block in re.findall(r"```python\n(.*?)```", ADDING_PAGE, re.S)]
    provider = [block for block in shown if block in PIGEON]
    assert re.sub(r"\n+", "\n", "\n".join(provider)) == re.sub(r"\n+", "\n", PIGEON.strip())
    assert [block for block in shown if block not in PIGEON and block not in RIG] == []
    assert any(block in RIG for block in shown)


# -- all pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = (link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text()))
    missing = [link for link in links if link and "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_exists(page: Path) -> None:
    named = set(re.findall(r"POSTLEDGER_([A-Z_]+)", page.read_text()))
    assert named <= {name.upper() for name in Settings.model_fields}


_LINES = [
    line
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
    for line in block.splitlines()
]


@pytest.mark.parametrize("line", [line for line in _LINES if line.startswith("postledger ")])
def test_every_command_is_one(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    command.make_context(command.name or "", arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    named = re.findall(r"`((?:domain|application|projections|infrastructure|tests|docs)/[\w./-]*)`", page.read_text())
    made_by_the_reader = {
        *("infrastructure/providers/pigeon.py", "tests/providers/rigs/pigeon.py", "projections/clicks.py"),
    }
    missing = [path for path in named if not (ROOT / path).exists() and path not in made_by_the_reader]
    assert missing == []


_TOML = [
    pytest.param(block, id=f"{page.name}-{place}")
    for page in PAGES
    for place, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize("block", _TOML)
def test_every_file_of_settings_can_be_used(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTLEDGER_PROVIDERS", "main=smtp://one,second=smtp://two,backup=smtp://three")
    (tmp_path / "postledger.toml").write_text(block)
    set_here = load_settings().model_fields_set - {"providers"}
    assert set_here == tomllib.loads(block).keys() - {"providers"}
