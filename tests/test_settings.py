"""Settings: what is read, what is refused, and that no secret ever shows."""

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from infrastructure.settings import Settings, SettingsError, child_environment, load_settings, unknown_variables

HIDDEN = "s3cret-word"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No toml file, and no variable from outside."""
    monkeypatch.chdir(tmp_path)
    for name in unknown_variables():
        monkeypatch.delenv(name)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"POSTLEDGER_{name.upper()}", raising=False)


def _refused(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_the_first_run_needs_no_settings() -> None:
    settings = load_settings()
    assert settings.port == 8025
    assert list(settings.providers) == ["sandbox"]


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("postledger.toml").write_text('port = 1111\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("POSTLEDGER_PORT", "2222")
    settings = load_settings()
    assert (settings.host, settings.port) == ("0.0.0.0", 2222)  # noqa: S104


def test_every_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _refused(monkeypatch, {"POSTLEDGER_PORT": "no", "POSTLEDGER_LEASE": "PT0S", "POSTLEDGER_POLL": "soon"})
    assert "POSTLEDGER_PORT: " in message
    assert "POSTLEDGER_LEASE: must be longer than nothing" in message
    assert "POSTLEDGER_POLL: must be a duration" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://user:{HIDDEN}@host/database"),
        ("DATABASE_URL", f"postgresql://user:pass:word/{HIDDEN}@host/database"),
        ("DATABASE_URL", "sqlite://"),
        ("PROVIDERS", f"main={HIDDEN}"),
        ("PROVIDERS", f"main=smtp://user:a/{HIDDEN}@host:587"),
        ("PROVIDERS", f"smtp://user:{HIDDEN}@host,smtp://user:{HIDDEN}@other"),
        ("PROVIDERS", ""),
        ("API_KEY", ","),
        ("LOG_LEVEL", HIDDEN),
    ],
)
def test_what_cannot_be_used_is_refused_without_being_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"POSTLEDGER_{name}", value)
    with pytest.raises(SettingsError, match=f"POSTLEDGER_{name}: ") as caught:
        load_settings().api_keys()
    assert HIDDEN not in str(caught.value)


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTLEDGER_DATABASE_URL", f"postgresql://user:{HIDDEN}@host/database")
    monkeypatch.setenv("POSTLEDGER_PROVIDERS", f"main=smtp://user:{HIDDEN}@host:587")
    monkeypatch.setenv("POSTLEDGER_API_KEY", HIDDEN)
    assert HIDDEN not in f"{load_settings()!r} {load_settings()}"


def test_a_file_that_is_not_toml_is_refused() -> None:
    Path("postledger.toml").write_text(f"api_key = {HIDDEN}\n")
    with pytest.raises(SettingsError, match=r"postledger\.toml") as caught:
        load_settings()
    assert HIDDEN not in str(caught.value)
    assert "line 1, column" in str(caught.value)


@pytest.mark.parametrize("name", ["POSTGRES_ENABLE_DB_FUNCTIONS", "LEDGER_POSTGRES_ENABLE_DB_FUNCTIONS"])
@pytest.mark.parametrize("value", ["y", "True", "1", "on"])
def test_the_unsafe_flag_of_the_event_store_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert "lose events" in _refused(monkeypatch, {name: value})


def test_the_unsafe_flag_may_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", "no")
    load_settings()


def test_a_key_is_made_once_and_for_its_owner_only() -> None:
    settings = load_settings()
    (key,) = settings.api_keys()
    assert settings.api_keys() == {key: "default"}
    assert stat.S_IMODE(settings.api_key_file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("one", {"one": "default"}),
        ("acme=one,globex=two", {"one": "acme", "two": "globex"}),
        ("b64+/key==", {"b64+/key==": "default"}),
        ("acme=b64key=", {"b64key=": "acme"}),
    ],
)
def test_keys_belong_to_tenants(text: str, keys: dict[str, str]) -> None:
    assert load_settings(api_key=text).api_keys() == keys


def test_a_misspelt_variable_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTLEDGER_DATABSE_URL", "sqlite:///x")
    assert list(unknown_variables()) == ["POSTLEDGER_DATABSE_URL"]


def test_a_child_gets_its_own_settings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTLEDGER_PORT", "1")
    monkeypatch.setenv("POSTGRES_SOMETHING", "kept")
    environment = child_environment({"host": "::1"})
    assert environment["POSTLEDGER_HOST"] == "::1"
    assert environment["POSTGRES_SOMETHING"] == "kept"
    assert "POSTLEDGER_PORT" not in environment
