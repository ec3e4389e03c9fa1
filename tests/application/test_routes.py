"""Which emails fit a route's conditions, and which policy they are accepted with."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from application.policies import Policies, PolicyWishes
from application.routes import Route, RouteProvider, When, with_default
from application.routing import Router
from domain.delivery import DeliveryPolicy
from domain.draft import Draft
from domain.events import AttachmentRef, ContentRef, Priority, Tag
from tests.samples import draft

MAIN = (RouteProvider(name="main"),)


def mail(*to: str, **fields: Any) -> Draft:
    return draft(UUID(int=1), *to, **fields)


def file(size: int) -> AttachmentRef:
    return AttachmentRef(sha256="0" * 64, size=size, filename="a.pdf", content_type="application/pdf")


RECEIPT = (Tag(name="kind", value="receipt"), Tag(name="vip", value="yes"))


@pytest.mark.parametrize(
    ("when", "email", "fits"),
    [
        ({"tenant": ["shop", "other"]}, mail(), True),
        ({"tenant": "other"}, mail(), False),
        ({"stream": "transactional"}, mail(), True),
        ({"stream": "bulk"}, mail(), False),
        ({"tag": "kind:receipt"}, mail(tags=RECEIPT), True),
        ({"tag": "kind:invoice"}, mail(tags=RECEIPT), False),
        ({"tag": "kind"}, mail(tags=RECEIPT), True),
        ({"tag": ["kind:invoice", "vip"]}, mail(tags=RECEIPT), True),
        ({"tag": "vip"}, mail(), False),
        ({"priority": ["critical", "normal"]}, mail(), True),
        ({"priority": "critical"}, mail(priority=Priority.BULK), False),
        ({"attachments": True}, mail(attachments=(file(1),)), True),
        ({"attachments": True}, mail(), False),
        ({"attachments": False}, mail(), True),
        ({"attachments": False}, mail(attachments=(file(1),)), False),
        ({"min_size": 10}, mail(content=ContentRef(size=10, sha256="0")), True),
        ({"min_size": 11}, mail(content=ContentRef(size=10, sha256="0")), False),
        ({"max_size": "1KB"}, mail(content=ContentRef(size=24, sha256="0"), attachments=(file(1000),)), True),
        ({"max_size": "1KB"}, mail(content=ContentRef(size=25, sha256="0"), attachments=(file(1000),)), False),
        ({"tenant": "shop", "stream": "bulk"}, mail(), False),
        ({"tenant": "shop", "stream": "transactional", "attachments": False}, mail(), True),
    ],
)
def test_all_conditions_have_to_hold_each_by_any_value(when: dict[str, Any], email: Draft, fits: bool) -> None:
    assert When.model_validate(when).fits("shop", email) is fits


@pytest.mark.parametrize(
    ("wanted", "to", "fits"),
    [
        (["gmail.com"], ["a@gmail.com"], True),
        (["gmail.com"], ["a@gmail.com", "b@gmail.com"], True),
        (["gmail.com"], ["a@gmail.com", "b@example.org"], False),
        (["gmail.com", "example.org"], ["a@gmail.com", "b@example.org"], True),
        (["gmail.com"], ["a@notgmail.com"], False),
        (["gmail.com"], ["a@mail.gmail.com"], False),
        (["*.example.org"], ["a@mail.example.org", "b@de.mail.example.org"], True),
        (["*.example.org"], ["a@example.org"], False),
        (["*.example.org"], ["a@counterexample.org"], False),
        (["xn--bcher-kva.example"], ["a@bücher.example"], True),
        (["*.BÜCHER.example"], ["a@post.bücher.example"], True),
    ],
)
def test_a_domain_fits_when_every_recipient_is_in_it(wanted: list[str], to: list[str], fits: bool) -> None:
    assert When.model_validate({"recipient_domain": wanted}).fits("shop", mail(*to)) is fits


def test_the_first_route_that_fits_wins() -> None:
    routes = [
        Route(name="bulk", when=When(stream=("bulk",)), providers=MAIN),
        Route(name="shop", when=When(tenant=("shop",)), providers=MAIN),
    ]
    router = Router(with_default(routes, ["main"]))
    assert router.route("shop", mail(stream="bulk")).name == "bulk"
    assert router.route("shop", mail()).name == "shop"
    assert router.route("other", mail()).name == "default"


def test_what_fits_no_route_goes_through_all_providers_in_their_order() -> None:
    (default,) = with_default([], ["b", "a"])
    assert [(each.name, each.priority) for each in default.providers] == [("b", 1), ("a", 2)]


def test_a_default_of_its_own_takes_the_place_of_the_usual_one() -> None:
    own = Route(name="default", providers=MAIN)
    assert list(with_default([own], ["main", "second"])) == [own]


def test_the_nearest_wish_wins_point_by_point() -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    route = Route(name="r", when=When(stream=("bulk",)), providers=MAIN, max_attempts=3, settle_after=hour)
    policies = Policies(
        DeliveryPolicy(max_attempts=5, give_up_after=7 * day),
        {"shop": PolicyWishes(in_doubt="at_most_once", settle_after=day)},
        Router(with_default([route], ["main"])).route,
    )
    assert policies.of("other", mail()) == DeliveryPolicy(max_attempts=5, give_up_after=7 * day)
    assert policies.of("shop", mail()).settle_after == day
    found = policies.of("shop", mail(stream="bulk"), PolicyWishes(max_attempts=1))
    assert found == DeliveryPolicy(in_doubt="at_most_once", settle_after=hour, max_attempts=1, give_up_after=7 * day)
