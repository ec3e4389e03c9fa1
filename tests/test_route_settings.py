"""Routes, policies and retries as settings: what can be written, and what is refused, by its place and with advice."""

import json
from collections.abc import Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.delivery import ErrorClass
from infrastructure.cli.config import shown
from infrastructure.settings import Settings, SettingsError, load_settings, unknown_variables

PROVIDERS = "main=smtp://user:s3cret-word@one:25,second=smtp://two:25,backup=smtp://three:25"
WHOLE = """
[[routes]]
name = "receipts"
in_doubt = "at_most_once"
settle_after = "PT5M"
max_attempts = 3
give_up_after = "PT24H"
when = { tenant = ["shop"], stream = "transactional", tag = ["kind:receipt", "vip"], recipient_domain = ["gmail.com", "*.Example.org"], priority = ["critical"], min_size = "1MB", max_size = "10MB", attachments = true }
providers = [ { name = "main", weight = 70 }, { name = "second", weight = 30 }, { name = "backup", priority = 2 } ]
quiet_hours = { from = "22:00", to = 07:00:00, timezone = "Europe/Berlin", priorities = ["bulk", "normal"] }

[tenants.shop]
in_doubt = "at_most_once"
settle_after = "PT1H"

[retries.transient]
first = "PT2M"
longest = "PT2H"
"""  # noqa: E501 - an inline table has to be one line


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No toml file, and no variable from outside."""
    monkeypatch.chdir(tmp_path)
    for name in [*unknown_variables(), *(f"POSTLEDGER_{name.upper()}" for name in Settings.model_fields)]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTLEDGER_PROVIDERS", PROVIDERS)


def _route(**fields: Any) -> dict[str, Any]:
    return {"name": "one", "providers": [{"name": "main"}], **fields}


def _refused(monkeypatch: pytest.MonkeyPatch, **variables: object) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(f"POSTLEDGER_{name.upper()}", json.dumps(value))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_a_route_can_be_written_in_the_file() -> None:
    Path("postledger.toml").write_text(WHOLE)
    settings = load_settings()
    (route,) = settings.routes
    assert route.when is not None
    assert (route.when.stream, route.when.min_size) == (("transactional",), 1 << 20)
    assert route.when.recipient_domain == ("gmail.com", "*.example.org")
    assert [(each.name, each.weight, each.priority) for each in route.providers] == [
        *(("main", 70, 1), ("second", 30, 1), ("backup", 1, 2))
    ]
    assert route.quiet_hours is not None
    assert (route.quiet_hours.start, route.quiet_hours.end) == (time(22), time(7))
    assert settings.tenants["shop"].settle_after == timedelta(hours=1)
    assert settings.policy.retries[ErrorClass.TRANSIENT].first == timedelta(minutes=2)


def test_what_is_shown_can_be_set_again_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("postledger.toml").write_text(WHOLE)
    settings = load_settings()
    Path("postledger.toml").unlink()
    for name in ("routes", "tenants", "retries"):
        text = shown(settings, name)
        assert "s3cret-word" not in text
        monkeypatch.setenv(f"POSTLEDGER_{name.upper()}", text)
    again = load_settings()
    assert (again.routes, again.tenants, again.retries) == (settings.routes, settings.tenants, settings.retries)


def test_nothing_is_shown_where_nothing_is_set() -> None:
    assert shown(load_settings(), "routes") == ""


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ([_route(providers=[{"name": "main"}, {"name": "mian"}])], "0.providers.1.name: is not a configured provider"),
        ([_route(providers=[{"name": "main"}, {"name": "main"}])], "0.providers.1.name: is in this route twice"),
        ([_route(providers=[])], "0.providers: must name at least one"),
        ([{"name": "one"}], "0.providers: is missing"),
        ([_route(providers=["main"])], "0.providers.0: must be a table of settings, such as { name ="),
        ([_route(when={"tag": 4})], "0.when.tag: must be a list"),
        ([_route(providers=[{"name": "main", "weight": 0}])], "0.providers.0.weight: "),
        ([_route(providers=[{"name": "main", "wieght": 1}])], "0.providers.0.wieght: is not a setting"),
        ([_route(), _route()], "1.name: is the second route called 'one'"),
        ([_route(), _route(name="two")], "1: is never reached"),
        ([_route(name="default", when={"stream": "bulk"})], "0.when: must not be set"),
        ([_route(name="a b")], "0.name: must be a name"),
        ([_route(when={})], "0.when: has no conditions"),
        ([_route(when={"tenant": "no tenant"})], "0.when.tenant.0: must be a name"),
        ([_route(when={"tenant": []})], "0.when.tenant: must name at least one"),
        ([_route(when={"tag": "a:b:c"})], "0.when.tag.0: must be a tag's name"),
        ([_route(when={"recipient_domain": ["ok.org", "no domain"]})], "0.when.recipient_domain.1: must be a domain"),
        ([_route(when={"priority": "urgent"})], "0.when.priority.0: "),
        ([_route(when={"min_size": "big"})], "0.when.min_size: must be a size"),
        ([_route(when={"min_size": 2, "max_size": 1})], "0.when: has a min_size above its max_size"),
        ([_route(quiet_hours={"from": "22:00"})], "0.quiet_hours.to: is missing"),
        ([_route(quiet_hours={"from": "22:00", "to": "25:00"})], "0.quiet_hours.to: must be a time of day"),
        ([_route(quiet_hours={"from": "22:00", "to": "22:00"})], "0.quiet_hours: must not begin and end"),
        (
            [_route(quiet_hours={"from": "22:00", "to": "23:00", "timezone": "Europe/Atlantis"})],
            "0.quiet_hours.timezone: is not a time zone",
        ),
        ([_route(settle_after="soon")], "0.settle_after: must be a duration"),
        ([_route(in_doubt="maybe")], "0.in_doubt: "),
    ],
)
def test_a_mistake_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch, routes: list[Any], said: str) -> None:
    assert f"POSTLEDGER_ROUTES.{said}" in _refused(monkeypatch, routes=routes)


def test_a_list_whose_entries_are_wrong_is_not_called_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _refused(monkeypatch, routes=[_route(providers=[{"name": "main", "weight": 0}])])
    assert "must name at least one" not in said


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [_route(name="one", providers=[{"name": "x"}]), _route(name="one", providers=[{"name": "y"}])]
    assert len(_refused(monkeypatch, routes=routes).splitlines()) == 4


@pytest.mark.parametrize("zone", ["", "/etc/passwd", "../etc/passwd", "Europe", "Europe/Berlin\0"])
def test_what_is_no_time_zone_is_never_read_as_a_file(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    said = _refused(monkeypatch, routes=[_route(quiet_hours={"from": "22:00", "to": "07:00", "timezone": zone})])
    assert "quiet_hours.timezone: is not a time zone" in said


def test_a_machine_without_time_zones_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("application.quiet_hours.available_timezones", set)
    said = _refused(monkeypatch, routes=[_route(quiet_hours={"from": "01:00", "to": "07:00", "timezone": "No/Where"})])
    assert "install the package tzdata" in said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"tenants": {"a b": {}}}, "POSTLEDGER_TENANTS"),
        ({"tenants": {"shop": {"settle_after": "PT0S"}}}, "POSTLEDGER_TENANTS.shop.settle_after: "),
        ({"tenants": {"shop": {"rate": 1}}}, "POSTLEDGER_TENANTS.shop.rate: is not a setting"),
        ({"retries": {"permanent": {"first": 1, "longest": 2}}}, "POSTLEDGER_RETRIES: has waits after permanent"),
        ({"retries": {"transient": {"first": 2, "longest": 1}}}, "shorter than the first"),
        ({"retries": {"transient": {"first": 2}}}, "POSTLEDGER_RETRIES.transient.longest: is missing"),
    ],
)
def test_a_mistake_in_a_policy_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, object], said: str
) -> None:
    assert said in _refused(monkeypatch, **variables)


def test_what_is_not_json_is_refused_without_being_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTLEDGER_ROUTES", "[s3cret-word")
    with pytest.raises(SettingsError, match="POSTLEDGER_ROUTES: must be JSON") as caught:
        load_settings()
    assert "s3cret-word" not in str(caught.value)
