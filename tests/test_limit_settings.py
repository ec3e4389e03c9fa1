"""Limits as they are configured: in postledger.toml or as JSON, and what is wrong with them by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from application.limits import LimitSettings, parse_rate
from infrastructure.bootstrap import bootstrap
from infrastructure.cli.config import shown
from infrastructure.settings import SettingsError, load_settings

FILE = """
[limits.providers.sandbox]
rate = ["14/second", "50000/day"]
concurrency = 10
[limits.tenants.shop]
rate = "10000/day"
over_quota = "reject"
[limits.tenants."*"]
rate = "100/15m"
[limits.domains."GMail.com"]
rate = "500/minute"
"""
AS_JSON = {
    "providers": {"sandbox": {"rate": ["14/second", "50000/day"], "concurrency": 10}},
    "tenants": {"shop": {"rate": ["10000/day"], "over_quota": "reject"}, "*": {"rate": ["100/15minute"]}},
    "domains": {"gmail.com": {"rate": ["500/minute"]}},
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(limits: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        bootstrap(load_settings(limits=limits))
    return str(caught.value)


def test_a_file_and_the_environment_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("postledger.toml").write_text(FILE)
    in_file = load_settings().limits
    Path("postledger.toml").unlink()
    monkeypatch.setenv("POSTLEDGER_LIMITS", json.dumps(AS_JSON))
    assert load_settings().limits == in_file


def test_what_is_shown_is_what_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("postledger.toml").write_text(FILE)
    settings = load_settings()
    assert LimitSettings.model_validate_json(shown(settings, "limits")) == settings.limits
    Path("postledger.toml").unlink()
    assert shown(load_settings(), "limits") == "{}"


@pytest.mark.parametrize(
    ("limits", "named", "advice"),
    [
        (
            {"providers": {"nowhere": {"rate": "1/second"}}},
            "LIMITS.providers.nowhere",
            "no provider is called 'nowhere'; these are: sandbox",
        ),
        ({"providers": {"sandbox": {"rate": "quick"}}}, "LIMITS.providers.sandbox.rate", "14/second"),
        ({"providers": {"sandbox": {"rate": ["1/s", "2/second"]}}}, "LIMITS.providers.sandbox.rate", "same period"),
        ({"providers": {"sandbox": {"concurrency": 0}}}, "LIMITS.providers.sandbox.concurrency", "greater"),
        ({"providers": {"sandbox": {"rat": "1/s"}}}, "LIMITS.providers.sandbox.rat", "not a setting"),
        ({"tenants": {"no spaces": {"rate": "1/s"}}}, "LIMITS.tenants", "'no spaces'"),
        ({"tenants": {"shop": {}}}, "LIMITS.tenants.shop.rate", "missing"),
        ({"tenants": {"shop": {"rate": "1/s", "over_quota": "drop"}}}, "LIMITS.tenants.shop.over_quota", "'reject'"),
        ({"domains": {"not a domain": {"rate": "1/s"}}}, "LIMITS.domains", "domain"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(limits: Any, named: str, advice: str) -> None:
    message = refused(limits)
    assert f"POSTLEDGER_{named}: " in message
    assert advice in message


def test_a_variable_that_is_not_json_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTLEDGER_LIMITS", "providers=secret")
    with pytest.raises(SettingsError, match="POSTLEDGER_LIMITS: must be JSON") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_the_example_of_the_documentation_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    section = (Path(__file__).parent.parent / "docs/routing.md").read_text().partition("\n## Limits\n")[2]
    Path("postledger.toml").write_text(section.partition("```toml\n")[2].partition("```")[0])
    monkeypatch.setenv("POSTLEDGER_PROVIDERS", "main=sandbox://default")
    limits = load_settings().limits
    assert limits.providers["main"].concurrency == 10
    assert limits.tenants["shop"].over_quota == "reject"
    assert limits.domains["gmail.com"].rate == (parse_rate("500/minute"),)
