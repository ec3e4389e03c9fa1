"""Who must not be sent to: whatever is said, in whatever order and however often, is counted once."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain import events as e
from domain.address import address_key
from domain.ids import suppression_id
from domain.suppression import EVERYTHING, Entry, Suppression
from tests.samples import NOW, stamp

ADA = "Ada@example.com"
SCOPES = (EVERYTHING, "news", "offers")


@dataclass(frozen=True)
class Wish:
    """Something that is asked of the list: an addition, or a removal."""

    scope: str | None
    rule: str
    cause: UUID | None
    removal: bool

    def ask(self, of: Suppression) -> None:
        if self.removal:
            of.remove(self.scope, self.rule, "test", stamp(), cause=self.cause)
        else:
            of.add(self.scope or EVERYTHING, self.rule, "test", stamp(), cause=self.cause)


causes = st.integers(1, 6).map(lambda number: UUID(int=number))
additions = st.builds(
    Wish, st.sampled_from(SCOPES), st.sampled_from(("hard_bounce", "complaint")), st.none() | causes, st.just(False)
)
removals = st.builds(Wish, st.none() | st.sampled_from(SCOPES), st.just("manual"), st.none() | causes, st.just(True))


def fresh() -> Suppression:
    return Suppression("acme", ADA)


def scopes(suppression: Suppression) -> set[str]:
    return set(suppression.active)


@given(wishes=st.lists(additions | removals, max_size=20))
def test_it_does_what_a_list_would(wishes: list[Wish]) -> None:
    suppression, model, known = fresh(), list[tuple[str | None, str, UUID | None]](), set[UUID | None]()
    for wish in wishes:
        wish.ask(suppression)
        if wish.removal:
            model = [one for one in model if wish.scope not in (None, one[0])]
        elif wish.cause not in known if wish.cause else wish.scope not in {scope for scope, *_ in model}:
            model.append((wish.scope, wish.rule, wish.cause))
            known.add(wish.cause)
        assert {(entry.scope, entry.rule, entry.cause) for entry in suppression.entries} == set(model)


@given(wishes=st.lists(additions | removals, max_size=20))
def test_a_history_tells_what_the_aggregate_knew(wishes: list[Wish]) -> None:
    suppression = fresh()
    for wish in wishes:
        wish.ask(suppression)
    events = suppression.collect_events()
    again = Suppression.of("acme", ADA, events)
    assert (again.active, again.version) == (suppression.active, len(events))
    assert [event.originator_version for event in events] == list(range(1, len(events) + 1))
    assert suppression.collect_events() == []


@given(wishes=st.lists(additions | removals, max_size=12), data=st.data())
def test_what_was_recorded_for_a_cause_is_not_recorded_again(wishes: list[Wish], data: st.DataObject) -> None:
    """An at-least-once reader asks for the same again, after whatever else has happened."""
    suppression = fresh()
    for wish in wishes:
        wish.ask(suppression)
    before, recorded = scopes(suppression), suppression.collect_events()
    added = [event for event in recorded if isinstance(event, e.SuppressionAdded) and event.cause]
    for event in data.draw(st.permutations(added)):
        suppression.add(event.scope, event.rule, event.source, stamp(), cause=event.cause)
    assert (scopes(suppression), suppression.collect_events()) == (before, [])


@given(order=st.permutations(SCOPES), copies=st.lists(st.sampled_from(SCOPES), max_size=6))
def test_additions_end_the_same_in_any_order_and_number(order: list[str], copies: list[str]) -> None:
    suppression = fresh()
    for scope in (*order, *copies):
        Wish(scope, "hard_bounce", UUID(int=SCOPES.index(scope) + 1), removal=False).ask(suppression)
    assert scopes(suppression) == set(SCOPES)
    assert len(suppression.collect_events()) == len(SCOPES)


def test_a_cause_dealt_with_does_not_come_back() -> None:
    suppression, cause = fresh(), UUID(int=7)
    suppression.add("*", "hard_bounce", "provider:main", stamp(), cause=cause)
    suppression.remove(None, "manual", "operator:eve", stamp(), reason="a typo, mended")
    suppression.add("*", "hard_bounce", "provider:main", stamp(), cause=cause)
    assert suppression.active == {}
    suppression.add("*", "hard_bounce", "provider:main", stamp(), cause=UUID(int=8))
    assert scopes(suppression) == {"*"}


def test_without_a_cause_it_can_be_said_again() -> None:
    suppression = fresh()
    for _ in range(2):
        suppression.add("*", "manual", "api:1", stamp())
        suppression.remove("*", "manual", "api:1", stamp())
    assert len(suppression.collect_events()) == 4


def test_rules_are_asked_for_by_stream() -> None:
    suppression = fresh()
    assert suppression.rule_for("news") is None
    suppression.add("news", "unsubscribe", "provider:main", stamp())
    assert (suppression.rule_for("news"), suppression.rule_for("offers")) == ("unsubscribe", None)
    suppression.add("*", "complaint", "provider:main", stamp())
    assert (suppression.rule_for("news"), suppression.rule_for("offers")) == ("complaint", "complaint")


def test_a_removal_may_choose() -> None:
    suppression = fresh()
    suppression.add("news", "unsubscribe", "provider:main", stamp())
    suppression.add("news", "complaint", "provider:main", stamp(), cause=UUID(int=5))
    suppression.add("offers", "manual", "api:1", stamp())
    gone = suppression.remove(None, "resubscribed", "provider:main", stamp(), only=lambda e: e.rule == "unsubscribe")
    assert [entry.rule for entry in gone] == ["unsubscribe"]
    assert suppression.rule_for("news") == "complaint"
    again = Suppression.of("acme", ADA, suppression.collect_events())
    assert again.active == suppression.active
    suppression.add("news", "complaint", "provider:main", stamp(), cause=UUID(int=5))
    assert suppression.collect_events() == []


def test_an_event_says_who_when_and_why() -> None:
    suppression = fresh()
    later = NOW + timedelta(minutes=1)
    suppression.add("*", "manual", "api:1", stamp(later), reason="asked by phone", email_id=UUID(int=3))
    (event,) = suppression.collect_events()
    assert isinstance(event, e.SuppressionAdded)
    assert event.originator_id == suppression_id("acme", address_key(ADA)) == fresh().id
    assert (event.address, event.occurred_at, event.email_id, event.tenant) == (ADA, later, UUID(int=3), "acme")
    expected = Entry(ADA, "*", "manual", "api:1", "asked by phone", UUID(int=3), None, later)
    assert suppression.entries == [expected]
    assert "Ada" not in repr(expected)
    assert "phone" not in repr(expected)
