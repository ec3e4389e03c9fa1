"""What routes give up is made sure of before anything starts; links have one key, kept for all processes."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from infrastructure.bootstrap import bootstrap
from infrastructure.settings import SettingsError, load_settings

HIDDEN = "s3cret-word"
TOO_SHORT = "short"


def started(directory: Path, concessions: dict[str, Any], **given: Any) -> None:
    """As `postledger serve` begins."""
    backup = {"name": "sandbox", "concessions": concessions}
    settings = load_settings(
        database_url=f"sqlite:///{directory}/postledger.db",
        blob_url=f"file://{directory}/blobs",
        api_key="pl_test_0123456789abcdef",
        link_key_file=directory / "keys" / "link-key",
        routes=[{"name": "default", "providers": [backup]}],
        **given,
    )
    bootstrap(settings)


def refused(directory: Path, concessions: dict[str, Any], **given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        started(directory, concessions, **given)
    return str(caught.value)


def test_links_need_to_know_where_they_lead(tmp_path: Path) -> None:
    said = refused(tmp_path, {"link_attachments_over": "5MB"})
    assert said.startswith("POSTLEDGER_PUBLIC_URL: must be set for the links of route 'default'")
    assert "https://mail.example.com" in said
    started(tmp_path, {"link_attachments_over": "5MB"}, public_url="https://mail.example.com/")


def test_a_template_needs_its_directory_and_its_file(tmp_path: Path) -> None:
    wanted = {"template": "simple.html"}
    assert refused(tmp_path, wanted).startswith("POSTLEDGER_TEMPLATE_DIR: must be the directory that has simple.html")
    assert "no file simple.html" in refused(tmp_path, wanted, template_dir=tmp_path)
    assert refused(tmp_path, wanted, template_dir=tmp_path / "x").startswith("POSTLEDGER_TEMPLATE_DIR: No such file")
    (tmp_path / "simple.html").write_text("<p>\n{{ nope }}")
    said = refused(tmp_path, wanted, template_dir=tmp_path)
    assert said.startswith("POSTLEDGER_TEMPLATE_DIR: simple.html, line 2: 'nope' is not a variable")
    (tmp_path / "simple.html").write_text("<p>{{ text }}</p>")
    started(tmp_path, wanted, template_dir=tmp_path)


def test_a_concession_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, {"link_attachments_over": "huge"})
    assert said.upper().startswith("POSTLEDGER_ROUTES.0.PROVIDERS.0.CONCESSIONS.LINK_ATTACHMENTS_OVER: MUST BE A SIZE")
    assert "tekst_only" in refused(tmp_path, {"tekst_only": True}).lower()


@pytest.mark.parametrize(
    "url", ["mail.example.com", "ftp://x", "https://", f"https://user:{HIDDEN}@x", "https://x?a=b"]
)
def test_a_public_url_that_leads_nowhere_is_refused(tmp_path: Path, url: str) -> None:
    said = refused(tmp_path, {}, public_url=url)
    assert said.startswith("POSTLEDGER_PUBLIC_URL: must be a URL such as https://mail.example.com")
    assert HIDDEN not in said


def test_a_key_is_made_once_for_all_processes_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "link-key"
    one, other = (load_settings(link_key_file=path).link_keys() for _ in range(2))
    assert one == other
    assert len(one[0]) > 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_key_is_made_where_there_are_no_links(tmp_path: Path) -> None:
    started(tmp_path, {"text_only": True})
    assert not (tmp_path / "keys").exists()


def test_keys_can_be_changed_one_after_the_other() -> None:
    settings = load_settings(link_key=f"{HIDDEN}-new-enough-long, {HIDDEN}-old-enough-long")
    assert settings.link_keys() == [f"{HIDDEN}-new-enough-long".encode(), f"{HIDDEN}-old-enough-long".encode()]
    assert HIDDEN not in repr(settings)


def test_a_key_that_could_be_guessed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="POSTLEDGER_LINK_KEY: must have at least 16 characters") as caught:
        load_settings(link_key=f"{HIDDEN}-long-enough,{TOO_SHORT}")
    assert HIDDEN not in str(caught.value)
    assert TOO_SHORT not in str(caught.value)
    (tmp_path / "empty").touch()
    with pytest.raises(SettingsError, match="POSTLEDGER_LINK_KEY_FILE: there is no key"):
        load_settings(link_key_file=tmp_path / "empty").link_keys()
    with pytest.raises(SettingsError, match="POSTLEDGER_LINK_TTL: must be longer than nothing"):
        load_settings(link_ttl="PT0S")


def test_routes_with_concessions_may_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = {"name": "sandbox", "concessions": {"tracking": False, "text_only": True}}
    monkeypatch.setenv("POSTLEDGER_ROUTES", json.dumps([{"name": "default", "providers": [provider]}]))
    (route,) = load_settings().routes
    concessions = route.providers[0].concessions
    assert concessions is not None
    assert concessions.words == ("no_tracking", "text_only")


def test_what_the_documents_show_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/routing.md, with its template."""
    section = (Path(__file__).parent.parent / "docs/routing.md").read_text().partition("\n## Concessions\n")[2]
    blocks = dict(re.findall(r"```(toml|html)\n(.*?)```", section, re.S))
    names = ",".join(f"{name}=sandbox://default?dir={tmp_path}" for name in ("main", "second", "backup"))
    (tmp_path / "postledger.toml").write_text(f'providers = "{names}"\n{blocks["toml"]}')
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/simple.html").write_text(blocks["html"])
    monkeypatch.chdir(tmp_path)
    bootstrap(load_settings(api_key="pl_test_0123456789abcdef"))
    (route,) = load_settings().routes
    words = [provider.concessions.words if provider.concessions else () for provider in route.providers]
    assert words == [(), ("no_tracking", "template:simple.html"), ("text_only", "links_over:5242880")]
