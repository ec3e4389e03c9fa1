"""What can be asked of the statistics, and how exact the answers are."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from domain import events as e
from domain.answer import Answer as Said
from domain.delivery import ErrorClass
from domain.email import Email
from domain.feedback import Feedback, Kind
from infrastructure.database.engines import Database
from projections.statistics import ACCOUNTS, PROJECTION
from projections.statistics_measures import ACCURACY, bucket
from projections.statistics_queries import Answer, Figures, Question, ask, calls, sketch, tenants
from projections.statistics_windows import Per, TooLong, Window
from tests.projections.reading import numbered, scratch
from tests.samples import LEASE, NOW, queued, stamp, taken

BERLIN, NEW_YORK, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Store = Callable[..., None]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with scratch(database, (PROJECTION,)) as connection:
        yield connection


def fold(connection: Connection, *emails: Email) -> None:
    log = numbered([event for email in emails for event in email.collect_events()])
    PROJECTION.fold(connection, PROJECTION.tables(""), log)


def sent(*to: str, at: datetime = NOW, provider: str = "main", took: float = 1, **fields: Any) -> Email:
    """Taken `took` seconds after it was accepted."""
    email = queued(*to, now=at, **fields)
    attempt = email.start_delivery(provider, "default", LEASE, stamp(at))
    email.conclude(attempt, taken(email), stamp(at + timedelta(seconds=took)), chance=0)
    return email


def hear(email: Email, kind: Kind, at: datetime, key: str = "", person: int = 0, raw: int = 1, **more: Any) -> None:
    """`main` says so of one of its recipients."""
    id = tuple(email.standing.recipients)[person]
    said = Feedback(
        kind=kind, provider_type="x", keys=(key or f"{kind}-{at}",), recipient_id=id, occurred_at=at, **more
    )
    assert email.hear(said, next(iter(email.attempts.values())).provider, at, stamp(at), raw=UUID(int=raw))


def window(since: datetime = NOW - DAY, until: datetime = NOW + DAY, per: Per | None = None, zone: Any = UTC) -> Window:
    return Window.between(since, until, per, zone)


def found(answer: Answer, measure: str) -> dict[str | None, int]:
    return {figures.value: figures[measure] for figures in answer.figures}


def whole(connection: Connection, tenant: str | None = "default", **question: Any) -> Figures:
    (figures,) = ask(connection, Question(tenant, window(), **question)).figures
    return figures


# -- what counts -----------------------------------------------------------------------------------------------------


def test_attempts_count_where_they_were_made_and_recipients_where_they_ended(connection: Connection) -> None:
    email = queued("ada@example.com")
    away = Said(error_class=ErrorClass.RATE_LIMITED, reason="slow_down")
    email.conclude(email.start_delivery("main", "default", LEASE, stamp()), away, stamp(NOW + 2 * HOUR), chance=0)
    again = email.start_delivery("backup", "default", LEASE, stamp(NOW + 3 * HOUR))
    email.conclude(again, taken(email), stamp(NOW + 3 * HOUR + timedelta(seconds=2)), chance=0)
    hear(email, Kind.DELIVERED, NOW + 4 * HOUR)
    fold(connection, email)
    answer = ask(connection, Question("default", window(), by="provider"))
    assert found(answer, "attempts") == {"backup": 1, "main": 1}
    assert found(answer, "delivered") == {"backup": 0, "main": 1}  # who said so
    assert {figures.value: figures.errors for figures in answer.figures} == {"backup": {}, "main": {"rate_limited": 1}}
    total = whole(connection)
    assert [total[name] for name in ("accepted", "attempts", "taken", "deferred", "dispatched")] == [1, 2, 1, 1, 1]
    assert total.rate("success") == 0.5
    assert total.times["time_to_dispatch"].quantiles["p50"] == pytest.approx(10_802, rel=ACCURACY)
    assert total.times["provider_latency"].count == 2


def test_a_bounce_after_a_delivery_takes_its_place(connection: Connection) -> None:
    email = sent("ada@example.com")
    hear(email, Kind.DELIVERED, NOW + HOUR)
    fold(connection, email)
    assert whole(connection)["delivered"] == 1
    hear(email, Kind.BOUNCED, NOW + 2 * HOUR, bounce_class="hard")
    fold(connection, email)
    total = whole(connection)
    assert (total["delivered"], total["bounced"], total["bounced_hard"]) == (0, 1, 1)
    assert "time_to_delivery" not in total.times
    by_hour = ask(connection, Question("default", window(NOW, NOW + 3 * HOUR, "hour"))).figures
    assert [figures["bounced"] for figures in by_hour] == [0, 0, 1]


def test_a_requeue_keeps_what_was_and_begins_again(connection: Connection) -> None:
    email = sent("ada@example.com")
    hear(email, Kind.BOUNCED, NOW + HOUR, bounce_class="soft", terminal=True)
    email.requeue("mended", stamp(NOW + 2 * HOUR))
    attempt = email.start_delivery("backup", "default", LEASE, stamp(NOW + 2 * HOUR))
    email.conclude(attempt, taken(email), stamp(NOW + 2 * HOUR + timedelta(seconds=10)), chance=0)
    hear(email, Kind.DELIVERED, NOW + 3 * HOUR)
    fold(connection, email)
    total = whole(connection)
    names = ("accepted", "recipients", "requeued", "dispatched", "bounced_soft", "delivered")
    assert [total[name] for name in names] == [1, 1, 1, 2, 1, 1]
    assert total.times["time_to_dispatch"].quantiles["p99"] == pytest.approx(10, rel=ACCURACY)  # since the requeue


def test_a_correction_takes_back_what_was_misread(connection: Connection) -> None:
    email = sent("ada@example.com")
    hear(email, Kind.OPENED, NOW + HOUR, key="1")
    fold(connection, email)
    assert (whole(connection)["opened"], whole(connection)["opens"]) == (1, 1)
    hear(email, Kind.OPENED, NOW + HOUR, key="1", machine=True)
    fold(connection, email)
    total = whole(connection)
    assert [total[name] for name in ("opened", "opens", "opened_by_machine")] == [0, 0, 1]
    hear(email, Kind.SENT, NOW + HOUR, key="1")  # it was no open at all
    fold(connection, email)
    assert whole(connection)["opened_by_machine"] == 0


def test_a_person_who_opens_often_counts_once_and_fills_no_row(connection: Connection) -> None:
    email = sent("ada@example.com")
    for minute in range(200):
        hear(email, Kind.OPENED, NOW + timedelta(minutes=minute), key=f"open-{minute}")
        hear(email, Kind.BOUNCED, NOW + timedelta(minutes=minute), key=f"b-{minute}", bounce_class="hard")
    hear(email, Kind.CLICKED, NOW + 5 * HOUR, key="click", url="https://example.com/")
    fold(connection, email)
    total = whole(connection)
    assert [total[name] for name in ("opened", "opens", "clicked", "clicks", "bounced_hard")] == [1, 200, 1, 1, 1]
    (account,) = connection.execute(select(ACCOUNTS.c.account)).scalars()
    assert len(account) < 2000
    assert "ada@" not in account


def test_time_to_dispatch_begins_when_the_email_was_due(connection: Connection) -> None:
    later = queued("ada@example.com", send_at=NOW + 5 * HOUR)
    later.reschedule(NOW + 6 * HOUR, stamp())
    attempt = later.start_delivery("main", "default", LEASE, stamp(NOW + 6 * HOUR))
    later.conclude(attempt, taken(later), stamp(NOW + 6 * HOUR + timedelta(seconds=3)), chance=0)
    hear(later, Kind.DELIVERED, NOW + 5 * HOUR)  # by a clock that is behind
    fold(connection, later)
    times = whole(connection).times
    assert times["time_to_dispatch"].quantiles["p50"] == pytest.approx(3, rel=ACCURACY)
    assert times["time_to_delivery"].quantiles["p50"] == 0.001


# -- dimensions ------------------------------------------------------------------------------------------------------


def mixed() -> Sequence[Email]:
    """Six of two streams, of three kinds, to two domains, one of them to both; and one of somebody else."""
    kinds = ("invoice", "invoice", "welcome", "invoice", "welcome", "news")
    emails = [
        sent(
            *(["a@one.example"] if n % 2 else ["a@one.example", "b@two.example"] if n == 2 else ["b@TWO.example"]),
            at=NOW + n * timedelta(minutes=1),
            stream="bulk" if kind == "news" else "transactional",
            tags=(e.Tag(name="kind", value=kind), e.Tag(name="kind", value=kind), e.Tag(name="season", value="1")),
        )
        for n, kind in enumerate(kinds)
    ]
    return [*emails, sent("c@three.example", tenant="other", took=7)]


def test_by_each_dimension_and_of_one_value(connection: Connection) -> None:
    fold(connection, *mixed())

    def by(dimension: Any, of: Any = None, limit: int = 20) -> Answer:
        return ask(connection, Question("default", window(), dimension, of, limit))

    assert found(by("stream"), "accepted") == {"transactional": 5, "bulk": 1}
    assert found(by("domain"), "recipients") == {"one.example": 4, "two.example": 3}
    assert found(by("domain"), "accepted") == {"one.example": 4, "two.example": 3}  # an email to both is one of each
    assert list(found(by("tag"), "accepted").items()) == [
        ("season:1", 6),
        ("kind:invoice", 3),
        ("kind:welcome", 2),
        ("kind:news", 1),
    ]
    assert list(found(by("tag", ("tag", "kind:"), 2), "accepted")) == ["kind:invoice", "kind:welcome"]
    assert by("tag", ("tag", "kind:"), 2).has_more
    assert not by("tag", ("tag", "kind:"), 3).has_more
    assert found(by("tag", ("tag", "KIND:")), "accepted") == {}
    assert whole(connection, of=("tag", "kind:invoice"))["dispatched"] == 3
    assert whole(connection, of=("stream", "bulk")).times["time_to_dispatch"].count == 1
    assert whole(connection, of=("domain", "two.example"))["recipients"] == 3
    assert whole(connection, of=("domain", "nowhere.example")).counts == {}
    assert not whole(connection, of=("tag", "season:1")).times


def test_of_one_tenant_or_of_all(connection: Connection) -> None:
    fold(connection, *mixed())
    assert tenants(connection) == ["default", "other"]
    assert whole(connection, None)["accepted"] == 7
    assert whole(connection, "other")["accepted"] == 1
    assert whole(connection, "nobody").counts == {}
    assert calls(connection, None, NOW + HOUR)["main"]["taken"] == 7
    assert calls(connection, "other", NOW + HOUR)["main"].times["provider_latency"].count == 1
    assert calls(connection, None, NOW + 2 * DAY) == {}


# -- hours and days --------------------------------------------------------------------------------------------------


def test_every_hour_is_told_also_those_in_which_nothing_happened(connection: Connection) -> None:
    fold(connection, sent("a@x.example", at=NOW + timedelta(minutes=59)), sent("a@x.example", at=NOW + 3 * HOUR))
    answer = ask(connection, Question("default", window(NOW, NOW + 4 * HOUR, "hour")))
    assert [figures["accepted"] for figures in answer.figures] == [1, 0, 0, 1]
    assert [figures.slot.since for figures in answer.figures] == [NOW + n * HOUR for n in range(4)]
    assert answer.figures[0].times["time_to_dispatch"].count == 1
    assert not answer.figures[1].times


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        (UTC, {date(2026, 3, 28): 2, date(2026, 3, 29): 2}),
        (BERLIN, {date(2026, 3, 28): 1, date(2026, 3, 29): 2, date(2026, 3, 30): 1}),  # 23 hours: clocks go forward
        (NEW_YORK, {date(2026, 3, 28): 3, date(2026, 3, 29): 1}),
        (KOLKATA, {date(2026, 3, 28): 1, date(2026, 3, 29): 2, date(2026, 3, 30): 1}),
    ],
    ids=str,
)
def test_days_are_those_of_the_time_zone(connection: Connection, zone: Any, days: dict[date, int]) -> None:
    moments = ("2026-03-28T17:59", "2026-03-28T23:00", "2026-03-29T03:00", "2026-03-29T22:00")
    times = [datetime.fromisoformat(f"{text}+00:00") for text in moments]
    fold(connection, *(sent("a@x.example", at=at) for at in times))
    asked = window(times[0], times[-1] + timedelta(seconds=1), "day", zone)
    answer = ask(connection, Question("default", asked))
    assert {f.slot.since.astimezone(zone).date(): f["accepted"] for f in answer.figures} == days
    by_stream = ask(connection, Question("default", asked, by="stream")).figures
    assert [figures["accepted"] for figures in by_stream] == list(days.values())


def test_a_day_begins_at_midnight_and_may_have_23_or_25_hours() -> None:
    spring = window(datetime(2026, 3, 29, 12, tzinfo=BERLIN), datetime(2026, 3, 30, tzinfo=BERLIN), "day", BERLIN)
    (day,) = spring.slots
    assert (day.since.astimezone(BERLIN), day.until - day.since) == (datetime(2026, 3, 29, tzinfo=BERLIN), 23 * HOUR)
    autumn = window(datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN), "day", BERLIN)
    assert [slot.until - slot.since for slot in autumn.slots] == [25 * HOUR]


def test_an_hour_belongs_to_the_day_in_which_it_begins() -> None:
    (day,) = window(
        datetime(2026, 3, 5, 6, tzinfo=KOLKATA), datetime(2026, 3, 5, 23, tzinfo=KOLKATA), "day", KOLKATA
    ).slots
    assert day.since == datetime(2026, 3, 4, 19, tzinfo=UTC)  # 00:30 there


@pytest.mark.parametrize(("per", "days"), [("hour", 31), ("day", 400)])
def test_too_much_to_be_told_piece_by_piece(per: Per, days: int) -> None:
    assert len(window(NOW - days * DAY, NOW, per).slots) in (days * 24, days + 1)
    with pytest.raises(TooLong, match=f"more than {days} days"):
        window(NOW - days * DAY - timedelta(seconds=1), NOW, per)


# -- times -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=300), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_quantiles_are_as_exact_as_is_said_in_whatever_order_times_come(milliseconds: list[int], chance: Any) -> None:
    pairs = [(bucket(each * 1000), 1) for each in milliseconds]
    times = sketch(pairs)
    chance.shuffle(pairs)
    assert sketch(pairs) == times
    exact = sorted(milliseconds)
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        true = exact[math.ceil(quantile * len(exact)) - 1] / 1000
        assert abs(times.quantiles[name] - true) <= true * ACCURACY + 0.0005  # milliseconds are shown
    assert times.count == len(milliseconds)


def test_rates_are_of_those_there_were() -> None:
    figures = Figures(window().slots[0], None, {"dispatched": 9, "refused": 1, "delivered": 8, "bounced_hard": 2})
    assert (figures.rate("delivery"), figures.rate("bounce"), figures.rate("open")) == (0.8, 0.2, 0.0)
    assert Figures(window().slots[0], None).rate("delivery") is None
