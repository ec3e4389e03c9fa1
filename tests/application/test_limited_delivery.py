"""What an attempt has to wait for: which provider is asked instead, what is recorded, what is given back."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.delivery import Delivery
from application.lanes import Held
from application.limits import LimitSettings, Quotas
from application.ports import Rate, Want
from application.routing import Choice
from domain import events as e
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.email import Email
from domain.provider_state import ProviderState
from tests.fakes import FakeLimits, FakeStates, MemoryLedger
from tests.providers_fake import ScriptedProvider, accepted
from tests.samples import LEASE, NOW, queued, stamp, stored_content
from tests.tools import tools

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def named(name: str, *script: Any) -> ScriptedProvider:
    provider = ScriptedProvider(*script)
    provider.name = name
    return provider


class Bench:
    """Two providers, `main` preferred, under these limits, and a clock that is turned by hand."""

    def __init__(self, limits: dict[str, Any], *script: Any) -> None:
        self.now = NOW
        self.ledger = MemoryLedger()
        self.limits = FakeLimits()
        self.states = FakeStates()
        self.quotas = Quotas(LimitSettings.model_validate(limits))
        self.main, self.backup = named("main", *script), named("backup")

    async def accept(self, *to: str, **fields: Any) -> UUID:
        email = queued(*to, **fields)
        await self.ledger.append(email.collect_events(), [stored_content(email)])
        return email.id

    async def deliver(self, *to: str, **fields: Any) -> Held | None:
        return await self.step(await self.accept(*to, **fields))

    async def step(self, id: UUID) -> Held | None:
        given = {"limits": self.limits, "states": self.states, "quotas": self.quotas, "clock": lambda: self.now}
        return await Delivery(tools(self.ledger, self.main, self.backup, lease=LEASE, **given))(id, lambda: True)

    async def events(self, id: UUID) -> list[e.Event]:
        return [recorded.event for recorded in await self.ledger.load(id)]

    @property
    def sent(self) -> tuple[int, int]:
        return len(self.main.sent), len(self.backup.sent)


def play(scenario: Callable[[Bench], Coroutine[Any, Any, None]], *script: Any, **limits: Any) -> None:
    asyncio.run(scenario(Bench(limits, *script)))


def test_a_providers_room_is_waited_for_when_it_comes_soon() -> None:
    async def scenario(b: Bench) -> None:
        assert await b.deliver() is None
        id = await b.accept()
        held = await b.step(id)
        assert held is not None
        assert held.lane == "route:default"
        assert NOW < held.until <= NOW + 2 * SECOND
        assert b.sent == (1, 0)
        assert len(await b.events(id)) == 1  # nothing to tell
        b.now = held.until
        assert await b.step(id) is None
        assert b.sent == (2, 0)

    play(scenario, providers={"main": {"rate": "1/second"}})


def test_for_long_it_is_not_waited_when_another_provider_has_room() -> None:
    async def scenario(b: Bench) -> None:
        assert [await b.deliver() for _ in range(3)] == [None] * 3
        assert b.sent == (1, 2)

    play(scenario, providers={"main": {"rate": "1/day"}})


def test_a_provider_that_asked_for_a_pause_is_left_alone_by_everybody() -> None:
    async def scenario(b: Bench) -> None:
        answer_of_first = await b.deliver()
        assert answer_of_first is None
        assert await b.deliver() is None
        assert b.sent == (1, 1)
        b.now += 60 * SECOND
        assert await b.deliver() is None
        assert b.sent == (2, 1)

    play(scenario, Answer(error_class=ErrorClass.RATE_LIMITED, pause=60 * SECOND), accepted)


def test_nobody_waits_for_a_probe_who_has_another_choice() -> None:
    async def scenario(b: Bench) -> None:
        b.states.known["main"] = ProviderState("main", degraded_until=NOW, openings=1)  # half open
        assert await b.limits.take(uuid4(), [Want("probe:main", slots=1)], NOW, NOW + SECOND) is None
        assert await b.deliver() is None
        assert b.sent == (0, 1)

    play(scenario)


@pytest.mark.parametrize("script", [accepted, RuntimeError("a bug")], ids=["sent", "raised"])
def test_the_slot_is_free_again_however_the_attempt_ended(script: Any) -> None:
    async def scenario(b: Bench) -> None:
        for _ in range(3):
            assert await b.deliver() is None
        assert b.sent == (3, 0)

    play(scenario, script, providers={"main": {"concurrency": 1}})


def test_over_the_tenants_quota_it_is_on_record_once_and_then_waits_in_silence() -> None:
    async def scenario(b: Bench) -> None:
        assert await b.deliver(tenant="shop") is None
        id = await b.accept(tenant="shop")
        held = await b.step(id)
        assert held is not None
        assert held.lane == "tenant:shop"
        event = (await b.events(id))[-1]
        assert isinstance(event, e.EmailDeliveryDeferred)
        assert (event.provider, event.error_class, event.reason) == (None, ErrorClass.HELD, "tenant_quota")
        assert event.retry_at == held.until > NOW + DAY
        assert await b.deliver(tenant="other") is None
        b.now = held.until
        assert await b.deliver(tenant="shop") is None  # somebody else was faster
        assert await b.step(id) is not None
        assert len(await b.events(id)) == 2
        b.now = NOW + 3 * DAY + SECOND
        assert await b.deliver(tenant="shop") is None
        await b.step(id)
        event = (await b.events(id))[-1]
        assert isinstance(event, e.EmailDeliveryFailed)
        assert event.reason == "too_old"

    play(scenario, tenants={"shop": {"rate": "1/day"}})


def test_however_many_attempts_it_takes_an_email_counts_once_for_its_tenant() -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(tenant="shop")
        assert await b.step(id) is None
        b.now += timedelta(hours=1)
        assert await b.step(id) is None
        assert b.sent == (2, 0)
        assert await b.deliver(tenant="shop") is not None

    play(scenario, Answer(error_class=ErrorClass.TRANSIENT), accepted, tenants={"*": {"rate": "1/day"}})


def test_a_domain_has_its_own_lane_and_reason() -> None:
    async def scenario(b: Bench) -> None:
        assert await b.deliver("ada@gmail.com", "bob@gmail.com") is None
        id = await b.accept("eve@gmail.com", "eve@example.com")
        held = await b.step(id)
        assert held is not None
        assert held.lane == "domain:gmail.com"
        event = (await b.events(id))[-1]
        assert isinstance(event, e.EmailDeliveryDeferred)
        assert event.reason == "domain_quota"
        assert await b.deliver("eve@example.com") is None

    play(scenario, domains={"GMail.com": {"rate": "2/minute"}})


def wants(
    limits: dict[str, Any], email: Email, *, separate: bool = False, probe: bool = False
) -> dict[tuple[str, str], int]:
    quotas = Quotas(LimitSettings.model_validate(limits), ["main"] if separate else [])
    found = quotas.wants(email, Choice("main", "configured", probe=probe))
    return {
        (want.key, "slots" if want.slots is not None else f"{want.rate.count}" if want.rate else ""): (
            want.slots if want.slots is not None else want.amount
        )
        for want in found
    }


def test_an_email_without_limits_wants_no_more_than_that_its_provider_is_not_paused() -> None:
    assert Quotas().wants(queued(), Choice("main", "configured")) == [Want("provider:main")]


def test_a_tenth_of_a_provider_is_kept_for_critical_mail() -> None:
    limits = {"providers": {"main": {"rate": ["14/second", "1/day"], "concurrency": 10}}}
    bulk, critical = queued(priority=e.Priority.BULK), queued(priority=e.Priority.CRITICAL)
    assert set(wants(limits, bulk).items()) >= {(("provider:main", "12"), 1), (("provider:main", "slots"), 9)}
    assert ("provider:main", "1") in wants(limits, bulk)
    assert set(wants(limits, critical).items()) >= {(("provider:main", "14"), 1), (("provider:main", "slots"), 10)}


def test_who_was_requeued_as_critical_is_critical() -> None:
    email = queued(priority=e.Priority.BULK)
    email.give_up("rejected", stamp())
    email.requeue("try harder", stamp(), e.Priority.CRITICAL)
    assert ("provider:main", "14") in wants({"providers": {"main": {"rate": "14/second"}}}, email)


def test_a_provider_that_is_called_for_each_recipient_is_asked_for_as_many() -> None:
    limits, email = {"providers": {"main": {"rate": "14/second"}}}, queued(*(f"p{n}@example.com" for n in range(5)))
    assert wants(limits, email)["provider:main", "12"] == 1
    assert wants(limits, email, separate=True)["provider:main", "12"] == 5


def test_more_recipients_than_a_rate_ever_has_room_for_take_all_of_it() -> None:
    many = queued(*(f"p{n}@example.com" for n in range(30)))
    limits = {"providers": {"main": {"rate": "14/second"}}, "domains": {"*": {"rate": "20/minute"}}}
    assert wants(limits, many, separate=True)["provider:main", "12"] == 12
    assert wants(limits, many)["domain:example.com", "20"] == 20


def test_a_name_goes_before_the_star() -> None:
    limits = {"tenants": {"*": {"rate": "5/day"}, "default": {"rate": "7/day"}}, "domains": {"*": {"rate": "3/day"}}}
    found = wants(limits, queued("ada@example.com", "bob@example.net"))
    assert set(found) == {
        ("provider:main", ""),
        ("tenant:default", "7"),
        ("domain:example.com", "3"),
        ("domain:example.net", "3"),
    }


def test_what_a_provider_tells_counts_where_nothing_is_configured() -> None:
    quotas = Quotas(LimitSettings.model_validate({"providers": {"main": {"rate": "3/second"}}}))
    for name in ("main", "backup"):
        quotas.learn(name, [Rate(100, SECOND)])
    told = {name: quotas.wants(queued(), Choice(name, "configured"))[1].rate for name in ("main", "backup")}
    assert {name: rate.count for name, rate in told.items() if rate} == {"main": 2, "backup": 90}


def test_who_is_left_one_provider_waits_for_its_room_in_a_lane_with_all_the_others() -> None:
    async def scenario(b: Bench) -> None:
        assert await b.limits.take(uuid4(), [Want("provider:backup", slots=1)], NOW, NOW + 10 * SECOND) is None
        id = await b.accept()
        assert await b.step(id) is None  # it failed at the first one, for a reason of its own
        b.now += SECOND
        held = await b.step(id)
        assert held is not None
        assert held.lane == "route:default:backup"
        b.now = NOW + 10 * SECOND
        assert await b.step(id) is None
        assert b.sent == (1, 1)

    play(
        scenario, Answer(error_class=ErrorClass.TRANSIENT, about_message=True), providers={"backup": {"concurrency": 1}}
    )


def test_who_will_sooner_be_taken_by_another_provider_waits_on_its_own() -> None:
    async def scenario(b: Bench) -> None:
        await b.limits.pause("provider:backup", NOW + DAY)
        id = await b.accept()
        assert await b.step(id) is None
        b.now += SECOND
        held = await b.step(id)
        assert held is not None
        assert held.lane is None
        assert held.until < NOW + 2 * 60 * SECOND

    play(scenario, Answer(error_class=ErrorClass.TRANSIENT, about_message=True))


@pytest.mark.parametrize("expires", [True, False], ids=["expires", "is given up"])
def test_a_quota_that_frees_itself_later_does_not_put_off_the_end_of_an_email(expires: bool) -> None:
    async def scenario(b: Bench) -> None:
        end = NOW + 2 * DAY if expires else NOW + 3 * DAY
        assert await b.deliver(tenant="shop") is None
        id = await b.accept(tenant="shop", expires_at=NOW + 2 * DAY if expires else None)
        held = await b.step(id)
        while held is not None and held.until < end:
            b.now = held.until
            await b.deliver(tenant="shop")  # somebody else is faster
            held = await b.step(id)
        assert held is not None
        assert held.until == end
        b.now = end
        assert await b.step(id) is None
        assert isinstance((await b.events(id))[-1], e.EmailExpired if expires else e.EmailDeliveryFailed)

    play(scenario, tenants={"shop": {"rate": "1/day"}})
