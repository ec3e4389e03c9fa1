"""What Mailgun is asked: its logs for an attempt in doubt, its suppression lists, and whether all is well."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.answer import Answer
from domain.ids import recipient_id
from infrastructure.providers.mailgun import MailgunProvider
from infrastructure.providers.mailgun_search import moment
from tests.mail import EMAIL_ID, NOW, outgoing
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction, Received, json_answer
from tests.providers.rigs.mailgun import settings
from tests.providers.test_mailgun import with_provider

HOUR = timedelta(hours=1)
OURS = {"pl_email_id": str(EMAIL_ID), "pl_recipient_id": str(recipient_id(EMAIL_ID, 0))}


def entry(variables: object = OURS, /, **more: Any) -> dict[str, Any]:
    """A log entry; variables come as JSON text there."""
    made = {
        "id": "JDhSWf9mT5OFxCkZfpDU5d",
        "event": "accepted",
        "@timestamp": "2026-03-01T12:00:01.530Z",
        "recipient": "ada@example.com",
        "user-variables": json.dumps(variables) if isinstance(variables, (dict, list)) else variables,
        "message": {"headers": {"message-id": "1.A@mg.example.com"}},
        **more,
    }
    return {name: value for name, value in made.items() if value is not ...}


def logs(*entries: object, next: str | None = None) -> Answered:
    return json_answer({"items": list(entries), "pagination": {"next": next} if next else {}})


def look_up(
    *reactions: Reaction, message: OutgoingMessage | None = None, after: timedelta = HOUR
) -> tuple[Answer | None, list[Received]]:
    """Look it up so long after the attempt, and return what was found and what was asked."""
    asked: list[Received] = []

    async def use(_: MailgunProvider, stub: HttpStub) -> Answer | None:
        stub.default = logs()
        stub.answers.extend(reactions)
        provider = MailgunProvider("mailgun", settings(stub.host), lambda: NOW + after)
        try:
            return await provider.look_up(message or outgoing())
        finally:
            asked.extend(stub.requests)
            await provider.close()

    return with_provider(use), asked


def found(answer: Answer | None) -> list[tuple[int, str]] | None:
    """Which recipients, by their number, under which ids; None: no telling."""
    if answer is None:
        return None
    numbers = {recipient_id(EMAIL_ID, number): number for number in range(9)}
    return [(numbers[message.recipient_id], message.message_id) for message in answer.messages]


# -- look-up ---------------------------------------------------------------------------------------------------


def test_the_logs_are_asked_around_the_time_of_the_attempt() -> None:
    _, (request,) = look_up()
    assert (request.method, request.path) == ("POST", "/v1/analytics/logs")
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {
        "start": "Sun, 01 Mar 2026 11:58:00 +0000",
        "end": "Sun, 01 Mar 2026 13:15:00 +0000",
        "filter": {
            "AND": [
                {
                    "attribute": "recipient",
                    "comparator": "=",
                    "values": [{"label": "ada@example.com", "value": "ada@example.com"}],
                }
            ]
        },
        "pagination": {"sort": "timestamp:asc", "limit": 100},
    }


@pytest.mark.parametrize(
    "ours",
    [
        entry(),
        entry(
            json.dumps(OURS).upper().replace("PL_EMAIL_ID", "pl_email_id").replace("PL_RECIPIENT_ID", "pl_recipient_id")
        ),
        {**entry(), "user-variables": OURS},  # an object, as webhooks have it
        entry(recipient=...),
        entry({"pl_email_id": str(EMAIL_ID)}),
        entry({"pl_email_id": str(EMAIL_ID)}, recipient="Ada@EXAMPLE.com"),
        entry(message={"headers": {"message-id": "<1.A@mg.example.com>"}}),
    ],
)
def test_an_entry_with_our_ids_is_evidence(ours: object) -> None:
    answer, _ = look_up(logs(entry({"pl_email_id": "another"}), ours))
    assert found(answer) == [(0, "1.A@mg.example.com")]


def test_evidence_counts_at_any_time() -> None:
    for after in (timedelta(minutes=1), timedelta(days=20)):
        assert found(look_up(logs(entry()), after=after)[0]) == [(0, "1.A@mg.example.com")]


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (entry({"pl_email_id": str(recipient_id(EMAIL_ID, 7))}),),
        (entry({**OURS, "pl_recipient_id": str(recipient_id(EMAIL_ID, 1))}),),
        (entry({**OURS, "pl_recipient_id": None}),),
        (entry({"pl_email_id": str(EMAIL_ID)}, recipient="eve@example.com"),),
        (entry({"pl_email_id": str(EMAIL_ID)}, recipient=...),),
        (entry({}), entry([]), entry("")),
    ],
)
def test_without_our_ids_there_is_nothing(entries: tuple[object, ...]) -> None:
    assert found(look_up(logs(*entries))[0]) == []


@pytest.mark.parametrize(
    ("after", "result"),
    [
        (timedelta(minutes=29), None),  # entries come late
        (timedelta(minutes=30), []),
        (timedelta(hours=24), []),
        (timedelta(hours=25), None),  # they may be gone
    ],
)
def test_silence_is_evidence_for_a_while(after: timedelta, result: list[tuple[int, str]] | None) -> None:
    assert found(look_up(logs(), after=after)[0]) == result


@pytest.mark.parametrize("unreadable", [entry(...), entry(None), entry("{"), entry(7), "?"])
def test_entries_that_may_be_anybody_s_leave_it_open(unreadable: object) -> None:
    assert found(look_up(logs(unreadable))[0]) is None
    assert found(look_up(logs(unreadable, entry()))[0]) == [(0, "1.A@mg.example.com")]


def test_our_entry_without_a_message_id_leaves_it_open() -> None:
    assert found(look_up(logs(entry(message=None)))[0]) is None
    assert found(look_up(logs(entry(), entry(message={})))[0]) == [(0, "1.A@mg.example.com")]


@pytest.mark.parametrize(
    "trouble",
    [
        json_answer({"message": "Forbidden"}, 401),
        json_answer({}, 403),
        json_answer({"message": "bad filter"}, 400),
        Answered(500),
        Answered(200, body=b"Mailgun Magnificent API"),
        json_answer({"items": None}),
        json_answer([]),
        Broken.RESET_AFTER_REQUEST,
        Broken.SILENCE,
        Broken.GARBAGE,
    ],
)
def test_trouble_is_no_evidence(trouble: Reaction) -> None:
    assert found(look_up(trouble)[0]) is None


def test_every_recipient_is_looked_for() -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "eve@example.com"])
    eve = {**OURS, "pl_recipient_id": str(recipient_id(EMAIL_ID, 2))}
    theirs = entry(eve, message={"headers": {"message-id": "3.C@mg.example.com"}})
    answer, asked = look_up(logs(entry()), logs(), logs(theirs), message=message)
    assert found(answer) == [(0, "1.A@mg.example.com"), (2, "3.C@mg.example.com")]
    assert [each.json()["filter"]["AND"][0]["values"][0]["value"] for each in asked] == [
        *("ada@example.com", "bob@example.com", "eve@example.com")
    ]


def test_trouble_with_one_recipient_leaves_all_open() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    assert found(look_up(logs(entry()), Answered(500), message=message)[0]) is None


def test_pages_are_followed_by_their_token() -> None:
    other = entry({"pl_email_id": "another"})
    answer, asked = look_up(logs(other, next="t" * 2000), logs(entry(), next="u"), logs())
    assert found(answer) == [(0, "1.A@mg.example.com")]
    assert [each.json()["pagination"].get("token") for each in asked] == [None, "t" * 2000, "u"]


def test_pages_without_end_are_not_read() -> None:
    answer, asked = look_up(*(logs(entry({"pl_email_id": "another"}), next="more") for _ in range(20)))
    assert found(answer) is None
    assert len(asked) == 10


@pytest.mark.parametrize(
    ("address", "spellings"),
    [
        ("Ada@example.com", ["Ada@example.com", "ada@example.com"]),
        ("ada@bücher.example", ["ada@xn--bcher-kva.example"]),
    ],
)
def test_an_address_is_looked_for_as_it_was_sent_to(address: str, spellings: list[str]) -> None:
    _, asked = look_up(message=outgoing([address]))
    assert [each.json()["filter"]["AND"][0]["values"][0]["value"] for each in asked] == spellings


# -- check -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reaction", "wrong"),
    [
        (json_answer({"domain": {"name": "mg.example.com", "state": "active"}}), None),
        (Answered(401, body=b"Forbidden"), None),  # a key for sending alone
        (json_answer({"domain": {"state": "unverified"}}), "unverified"),
        (json_answer({"domain": {"state": "disabled"}}), "disabled"),
        (json_answer({"domain": []}), "not as documented"),
        (Answered(200, body=b"Mailgun Magnificent API"), "not as documented"),
        (json_answer({"message": "Domain not found"}, 404), "other region"),
        (Answered(403), "403"),
        (Answered(500), "500"),
        (Broken.RESET_AFTER_REQUEST, "cannot be reached"),
        (Broken.SILENCE, "cannot be reached"),
    ],
)
def test_a_check_asks_for_the_domain(reaction: Reaction, wrong: str | None) -> None:
    async def use(provider: MailgunProvider, stub: HttpStub) -> str | None:
        stub.default = reaction  # also for aiohttp, which tries a GET twice
        told = await provider.check()
        assert {(each.method, each.path) for each in stub.requests} == {("GET", "/v4/domains/mg.example.com")}
        return told

    told = with_provider(use)
    assert (told is None) == (wrong is None)
    assert (wrong or "") in (told or "")
    assert "0123456789" not in (told or "")


# -- suppressions ----------------------------------------------------------------------------------------------


def listed(serve: Callable[[str, Received], Reaction | Answered]) -> tuple[list[ListedSuppression], list[str]]:
    """All that is listed by a Mailgun that serves so; and the paths that were asked for."""
    asked: list[str] = []

    async def use(provider: MailgunProvider, stub: HttpStub) -> list[ListedSuppression]:
        def react(request: Received) -> Answered:
            asked.append(request.path)
            reaction = serve(f"http://{stub.host}", request)
            assert isinstance(reaction, Answered)
            return reaction

        stub.default = react
        return [each async for each in provider.suppressions()]

    return with_provider(use), asked


def page(items: list[object], next: str | None = None) -> Answered:
    return json_answer({"items": items, "paging": {"next": next} if next else {}})


def test_all_three_lists_are_read_to_their_ends() -> None:
    date = "Fri, 21 Oct 2011 11:02:55 UTC"
    bounce = {"address": "ada@example.com", "code": "550", "error": "No such mailbox", "created_at": date}
    bare = {"address": "bob@example.com", "code": 550, "error": None, "created_at": "soon"}

    def serve(base: str, request: Received) -> Answered:
        if request.path == "/v3/mg.example.com/bounces?limit=1000":
            return page([bounce], f"{base}/v3/mg.example.com/bounces?page=next&address=ada%40example.com&limit=1000")
        if request.path.startswith("/v3/mg.example.com/bounces?page=next&address=ada"):
            return page([bare, "?", {"address": None}], f"{base}/v3/mg.example.com/bounces?page=next&address=bob")
        if request.path.startswith("/v3/mg.example.com/unsubscribes?limit"):
            news, all, none = (
                {"address": f"{n}@example.com", "tags": t} for n, t in (("a", ["news"]), ("b", ["*"]), ("c", []))
            )
            return page([news, all, none])
        if request.path.startswith("/v3/mg.example.com/complaints?limit"):
            return page([{"address": "eve@example.com", "created_at": "Fri, 21 Oct 2011 11:02:55 -0000"}])
        return page([], f"{base}{request.path}&again")

    found, asked = listed(serve)
    at = datetime(2011, 10, 21, 11, 2, 55, tzinfo=UTC)
    assert found == [
        ListedSuppression("ada@example.com", "bounce", at, "550 No such mailbox"),
        ListedSuppression("bob@example.com", "bounce", None, "550"),
        ListedSuppression("b@example.com", "unsubscribe"),  # and not a, who only unsubscribed from a tag
        ListedSuppression("c@example.com", "unsubscribe"),
        ListedSuppression("eve@example.com", "complaint", at),
    ]
    assert [unquote(path) for path in asked] == [
        "/v3/mg.example.com/bounces?limit=1000",
        "/v3/mg.example.com/bounces?page=next&address=ada@example.com&limit=1000",
        "/v3/mg.example.com/bounces?page=next&address=bob",
        "/v3/mg.example.com/unsubscribes?limit=1000",
        "/v3/mg.example.com/complaints?limit=1000",
    ]


def test_a_page_that_follows_itself_is_read_once() -> None:
    _, asked = listed(lambda base, request: page([{"address": "ada@example.com"}], request.path))
    assert len(asked) == 3


@pytest.mark.parametrize("suffix", [".evil.example", "0", "@evil.example"])
def test_our_key_goes_to_no_other_host(suffix: str) -> None:
    with pytest.raises(ProviderTrouble, match="bounces cannot be read: a URL of another host"):
        listed(lambda base, request: page([{"address": "ada@example.com"}], f"{base}{suffix}/v3/next"))


@pytest.mark.parametrize(
    "trouble",
    [Answered(401), Answered(500), Answered(200, body=b"Mailgun"), json_answer({"items": {}}), json_answer([])],
)
def test_a_list_that_cannot_be_read_is_trouble(trouble: Answered) -> None:
    with pytest.raises(ProviderTrouble, match="Mailgun's bounces cannot be read"):
        listed(lambda base, request: trouble)


@pytest.mark.parametrize(
    "date", ["", "soon", "Fri, 99 Oct 2011 11:02:55 UTC", "1" * 500, "Fri, 21 Oct 99999 11:02:55 +9999"]
)
def test_what_is_no_date_is_none(date: str) -> None:
    assert moment(date) is None
