"""What there is no room for is left in the queue, and the way back is felt from one email at a time."""

from datetime import timedelta

from application.lanes import Lanes
from tests.samples import NOW

ROUTE, SOON, LONG = "route:default", timedelta(seconds=0.5), timedelta(hours=20)
PLENTY = 1000


def test_a_lane_that_nothing_was_said_of_is_open() -> None:
    lanes = Lanes()
    assert lanes.room(ROUTE, "shop", NOW) >= PLENTY
    assert lanes.next_opening(NOW) is None
    assert lanes.closed(NOW) == {}


def test_a_lane_is_closed_until_then_and_no_other_is() -> None:
    lanes = Lanes()
    lanes.held(ROUTE, NOW + SOON, NOW)
    assert lanes.room(ROUTE, "shop", NOW) == 0
    assert lanes.room("", "shop", NOW) >= PLENTY
    assert lanes.room("domain:example.com", "shop", NOW) >= PLENTY
    assert lanes.next_opening(NOW) == NOW + SOON
    assert lanes.closed(NOW) == {ROUTE: NOW + SOON}
    assert lanes.room(ROUTE, "shop", NOW + SOON) == 1
    assert lanes.closed(NOW + SOON) == {}


def test_a_route_is_looked_at_again_within_a_second() -> None:
    lanes = Lanes()
    lanes.held(ROUTE, NOW + LONG, NOW)  # but an operator may resume the provider
    lanes.held("domain:example.com", NOW + LONG, NOW)
    assert lanes.room(ROUTE, "shop", NOW + timedelta(seconds=1)) == 1
    assert lanes.room("domain:example.com", "shop", NOW + LONG - SOON) == 0


def test_a_tenant_over_its_quota_is_left_alone_in_every_lane() -> None:
    lanes = Lanes()
    lanes.held("tenant:shop", NOW + LONG, NOW)
    assert lanes.room("", "shop", NOW) == lanes.room(ROUTE, "shop", NOW) == 0
    assert lanes.room("", "other", NOW) >= PLENTY


def test_the_way_back_doubles_with_every_round_that_goes_well() -> None:
    lanes, widths = Lanes(), []
    lanes.held(ROUTE, NOW + SOON, NOW)
    for _ in range(6):
        widths.append(width := lanes.room(ROUTE, "shop", NOW + SOON))
        for _ in range(width):
            lanes.went(ROUTE, "shop")
    assert widths == [1, 2, 4, 8, 16, 32]


def test_when_it_closes_again_as_many_as_went_is_what_is_tried_next() -> None:
    lanes, later = Lanes(), NOW + SOON
    lanes.held(ROUTE, later, NOW)
    for _ in range(9):
        lanes.went(ROUTE, "shop")
    lanes.held(ROUTE, later + SOON, later)
    lanes.held(ROUTE, later + SOON / 2, later)  # the others of that round are refused as well
    assert lanes.room(ROUTE, "shop", later) == 0
    assert lanes.next_opening(later) == later + SOON
    assert lanes.room(ROUTE, "shop", later + SOON) == 9


def test_where_none_went_one_is_tried_next() -> None:
    lanes, later = Lanes(), NOW + SOON
    lanes.held(ROUTE, later, NOW)
    lanes.held(ROUTE, later + SOON, later)
    assert lanes.room(ROUTE, "shop", later + SOON) == 1


def test_where_most_stray_few_are_claimed_for_a_while() -> None:
    lanes, later = Lanes(), NOW + SOON
    for _ in range(64):
        lanes.strayed("", "shop", NOW)
    assert lanes.room("", "shop", NOW) == 0
    assert lanes.room("", "other", NOW) >= PLENTY
    assert lanes.room(ROUTE, "shop", NOW) >= PLENTY
    assert NOW < (lanes.next_opening(NOW) or NOW) < later
    assert lanes.room("", "shop", later) == 1
    assert lanes.closed(NOW) == {}


def test_where_some_stray_the_others_go_on() -> None:
    lanes, now, widths = Lanes(), NOW, []
    lanes.strayed("", "shop", now)
    for _ in range(8):
        now += SOON
        widths.append(width := lanes.room("", "shop", now))
        for place in range(width):
            if place % 4 == 3:
                lanes.strayed("", "shop", now)
            else:
                lanes.went("", "shop")
    assert widths[-1] > 20


def test_lanes_that_have_long_been_open_are_forgotten() -> None:
    lanes, later = Lanes(), NOW + timedelta(minutes=2)
    for number in range(100):
        lanes.held(f"domain:{number}.example", NOW + SOON, NOW)
    lanes.held(ROUTE, later + SOON, later)
    assert lanes.room("domain:7.example", "shop", later) >= PLENTY
    assert lanes.room(ROUTE, "shop", later) == 0
