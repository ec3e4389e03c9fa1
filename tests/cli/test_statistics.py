"""postledger statistics: tables with bars for people, JSON for pipes, errors that name the option."""

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from domain import events as e
from domain.answer import RecipientReport
from domain.email import Email
from infrastructure.bootstrap import now
from infrastructure.cli import display, main
from infrastructure.cli.statistics import bar, percent, seconds
from infrastructure.settings import child_environment
from tests.cli.stocked import Stocked
from tests.samples import LEASE, queued, stamp, taken

START = now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)


def delivered(*to: str, tenant: str, stream: str = "transactional", hour: int = 0) -> Email:
    """Taken by main after 2 s, delivered after 30 s."""
    at = START + timedelta(hours=hour)
    email = queued(*to, now=at, tenant=tenant, stream=stream, tags=(e.Tag(name="kind", value=stream[0]),))
    attempt = email.start_delivery("main", "default", LEASE, stamp(at))
    email.conclude(attempt, taken(email), stamp(at + timedelta(seconds=2)), chance=0)
    for id in email.standing.recipients:
        then = at + timedelta(seconds=30)
        email.report(RecipientReport(e.EmailRecipientDelivered, id, "main", then), stamp(then))
    return email


@pytest.fixture
def stores(tmp_path: Path, sqlite_url: str) -> Stocked:
    stores = Stocked(tmp_path, sqlite_url)
    stores.put(
        delivered("a@one.example", tenant="acme"),
        delivered("a@one.example", "b@two.example", tenant="acme", stream="bulk", hour=2),
        delivered("c@one.example", tenant="globex"),
        queued("d@one.example", now=START, tenant="acme"),
    )
    return stores


def test_for_pipes_it_is_what_the_api_answers(stores: Stocked) -> None:
    told = stores.run("statistics", "--tenant", "acme")
    assert (told["object"], told["has_more"]) == ("list", False)
    (entry,) = told["data"]
    assert (entry["accepted"], entry["recipients"], entry["delivered"]) == (3, 4, 3)
    assert entry["time_to_delivery"]["p50"] == pytest.approx(30, rel=0.02)
    assert stores.run("statistics")["data"][0]["accepted"] == 4
    streams = stores.run("statistics", "--by", "stream", "--tenant", "acme", "--since", "36h")["data"]
    assert {each["group"]: each["recipients"] for each in streams} == {"transactional": 2, "bulk": 2}
    (tagged,) = stores.run("statistics", "--tag", "kind:b", "--since", START.date().isoformat())["data"]
    assert tagged["recipients"] == 2
    hours = stores.run("statistics", "--per", "hour", "--since", START.isoformat(), "--domain", "one.example")["data"]
    assert [hour["recipients"] for hour in hours][:4] == [3, 0, 1, 0]


def test_providers_are_listed_with_how_their_calls_went(stores: Stocked) -> None:
    main, backup = stores.run("providers", "list")["data"]
    assert (main["last_24_hours"]["started"], main["last_24_hours"]["success"]) == (3, 1.0)
    assert main["last_24_hours"]["latency"]["p95"] == pytest.approx(2, rel=0.021)
    assert backup["last_24_hours"]["latency"] is None


def test_people_see_tables_with_bars(stores: Stocked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "for_people", lambda: True)

    def seen(*arguments: str) -> str:
        environment = child_environment(stores.settings) | {"COLUMNS": "150"}
        return CliRunner().invoke(main, arguments, env=environment).stdout

    by_stream = seen("statistics", "--by", "stream", "--tenant", "acme")
    assert "delivered in" in by_stream
    assert "30 s, 30 s" in by_stream
    bulk = next(line for line in by_stream.splitlines() if line.strip().startswith("bulk"))
    assert "█" * 12 in bulk
    days = seen("statistics", "--per", "day", "--since", "2d", "--time-zone", "Asia/Tokyo")
    assert START.astimezone(ZoneInfo("Asia/Tokyo")).date().isoformat() in days
    overview = seen("statistics", "--tenant", "acme")
    assert ["delivered", "3", "100"] in [line.split()[:3] for line in overview.splitlines()]
    assert "Nothing was counted." in seen("statistics", "--tenant", "nobody")
    assert "p95" in seen("providers", "list")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "long ago"), "--since"),
        (("--per", "hour", "--since", "90d"), "--since is more than 31 days"),
        (("--since", "2999-01-01"), "--since must be before until"),
        (("--by", "tag", "--stream", "bulk"), "--stream cannot be combined"),
        (("--time-zone", "Berlin"), "--time-zone must be a time zone"),
        (("--tag", "kind"), "--tag must be written name:value"),
    ],
)
def test_wrong_usage_names_the_option(stores: Stocked, arguments: tuple[str, ...], words: str) -> None:
    assert words in stores.run("statistics", *arguments, code=2)


def test_numbers_are_written_for_people() -> None:
    assert [percent(each) for each in (None, 0.0, 0.98765, 1.0)] == ["", "0", "98.8", "100"]
    times = (0.001, 0.25, 2.06, 30, 119, 120, 7_200, 86_400, 172_800)
    assert [seconds(each) for each in times] == [
        *("0.001 s", "0.25 s", "2.1 s", "30 s", "119 s", "2 min", "2 h", "24 h", "2 d"),
    ]
    assert [bar(each).plain for each in (0, 0.5, 1)] == ["", "█" * 6, "█" * 12]
    assert bar(1 / 96).plain == "▏"
