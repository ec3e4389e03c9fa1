"""The state of a recipient does not depend on the order or the number of a provider's reports."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain import events as e
from domain.answer import RecipientReport
from domain.email import Email
from tests.samples import LEASE, NOW, queued, stamp, taken

MANY = settings(max_examples=400, deadline=None)
_KINDS: dict[type[e.RecipientEvent], dict[str, Any]] = {
    e.EmailRecipientDelivered: {},
    e.EmailRecipientDeferred: {},
    e.EmailRecipientDeliveryFailed: {"bounce_class": "soft"},
    e.EmailRecipientSuppressed: {"rule": "provider"},
    e.EmailRecipientOpened: {},
    e.EmailRecipientClicked: {"url": "https://example.com/"},
    e.EmailRecipientComplained: {},
    e.EmailRecipientUnsubscribed: {},
}
_EMAIL = queued("ada@example.com", "bob@example.com")
_QUEUED = _EMAIL.collect_events()


def _report(kind: type[e.RecipientEvent], place: int, seconds: int, named: bool) -> RecipientReport:
    id, at = _EMAIL.queued.recipients[place].id, NOW + timedelta(seconds=seconds)
    return RecipientReport(kind, id, "main", at, f"evt-{seconds}" if named else None, details=_KINDS[kind])


reports = st.builds(_report, st.sampled_from(list(_KINDS)), st.integers(0, 1), st.integers(0, 4), st.booleans())


def dispatched(before: list[RecipientReport], after: list[RecipientReport], *, in_doubt: bool = False) -> Email:
    """An email that was dispatched, some reports having overtaken the provider's answer, or our doubt about it."""
    email = Email.of(_QUEUED)
    assert email is not None
    attempt = email.start_delivery("main", "default", LEASE, stamp())
    if in_doubt:
        email.doubt(stamp())
    for report in before:
        email.report(report, stamp())
    email.conclude(attempt, taken(email), stamp(), chance=0.5)
    for report in after:
        email.report(report, stamp())
    return email


@given(said=st.lists(reports, max_size=8), data=st.data())
@MANY
def test_status_does_not_depend_on_the_order_or_number_of_reports(
    said: list[RecipientReport], data: st.DataObject
) -> None:
    first = dispatched([], said)
    copies = data.draw(st.lists(st.sampled_from(said), max_size=6)) if said else []
    shuffled = data.draw(st.permutations([*said, *copies]))
    overtaking = data.draw(st.integers(0, len(shuffled)))
    again = dispatched(shuffled[:overtaking], shuffled[overtaking:], in_doubt=data.draw(st.booleans()))
    assert again.standing.recipients == first.standing.recipients
    assert again.status == first.status
    assert again.standing.last_event == first.standing.last_event
    assert again.due_at is None


@given(said=st.lists(reports, max_size=8))
@MANY
def test_saying_it_twice_records_it_once(said: list[RecipientReport]) -> None:
    assert len(dispatched([], [*said, *said]).collect_events()) == len(dispatched([], said).collect_events())
