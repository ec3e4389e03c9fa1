"""Statistics counted the slow and plain way: each email's whole history, looked at once for each question."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from domain import events as e
from domain.standing import Standing, is_current, reported_status
from domain.status import RecipientStatus as S

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
ENGAGEMENT: Mapping[str, Callable[[e.Event], bool]] = {
    "complained": lambda event: isinstance(event, e.EmailRecipientComplained),
    "opened": lambda event: isinstance(event, e.EmailRecipientOpened) and not event.machine,
    "opened_by_machine": lambda event: isinstance(event, e.EmailRecipientOpened) and event.machine,
    "clicked": lambda event: isinstance(event, e.EmailRecipientClicked) and not event.machine,
    "clicked_by_machine": lambda event: isinstance(event, e.EmailRecipientClicked) and event.machine,
    "unsubscribed": lambda event: isinstance(event, e.EmailRecipientUnsubscribed),
    "delayed": lambda event: _status(event) is S.DEFERRED,
}
ENDINGS = (e.EmailDeliveryFailed, e.EmailExpired, e.EmailCancelled)
Found = tuple[str, int, str | None, UUID | None]  # measure, hour, provider, recipient
Timed = tuple[str, int, str | None, timedelta]


def hour(event: e.Event) -> int:
    return (event.occurred_at - EPOCH) // timedelta(hours=1)


def _status(event: e.Event) -> S | None:
    reports = (e.EmailRecipientDelivered, e.EmailRecipientDeferred, e.EmailRecipientDeliveryFailed)
    known = isinstance(event, (*reports, e.EmailRecipientSuppressed, e.EmailRecipientComplained))
    return reported_status(event) if known and isinstance(event, e.RecipientEvent) else None


def _provider(event: e.Event) -> str | None:
    name: str | None = getattr(event, "provider", None)
    return None if name == "postledger" else name


def counted(history: Sequence[e.Event]) -> tuple[list[Found], list[Timed]]:
    """What one email gives to the counts, and to the times."""
    queued = history[0]
    assert isinstance(queued, e.EmailQueued)
    counts: list[Found] = [("accepted", hour(queued), None, None)]
    times: list[Timed] = []
    for r in queued.recipients:
        counts.append(("recipients", hour(queued), None, r.id))
        mistaken = {x.corrects.event_id for x in history if isinstance(x, e.RecipientEvent) and x.corrects}
        mine = [x for x in history if getattr(x, "recipient_id", r.id) == r.id and x.event_id not in mistaken]
        counts += _engagement(mine, r.id)
        for start, end in _rounds(history, r.id):
            counts += [("requeued", hour(history[start]), None, r.id)] if start else []
            found, took = _round(history, start, end, r.id)
            counts += [(*each, r.id) for each in found]
            times += took
    calls, latencies = _calls(history)
    return counts + calls, times + latencies


def _engagement(mine: Sequence[e.Event], id: UUID) -> Iterator[Found]:
    for measure, is_one in ENGAGEMENT.items():
        found = [x for x in mine if isinstance(x, e.RecipientEvent) and is_one(x)]
        if found:
            yield measure, hour(found[0]), _provider(found[0]), id
        for x in found if measure in ("opened", "clicked") else ():
            yield ("opens" if measure == "opened" else "clicks"), hour(x), _provider(x), id


def _rounds(history: Sequence[e.Event], id: UUID) -> list[tuple[int, int]]:
    """From where to before where: acceptance, and each requeue, begins a round."""
    starts = [0] + [n for n, x in enumerate(history) if isinstance(x, e.EmailRequeued) and id in x.recipients]
    return list(zip(starts, [*starts[1:], len(history)], strict=True))


def _round(
    history: Sequence[e.Event], start: int, end: int, id: UUID
) -> tuple[list[tuple[str, int, str | None]], list[Timed]]:
    """How a round ended for one recipient, as it stood when the next one began."""
    past = history[:end]
    mistaken = {x.corrects.event_id for x in past if isinstance(x, e.RecipientEvent) and x.corrects}
    stands = Standing.of(past).recipients[id]
    since = history[start].occurred_at if start else None
    taken = next((x for x in history[start:end] if _took(x, id)), None)
    found: list[tuple[str, int, str | None]] = []
    times: list[Timed] = []
    if taken:
        found.append(("dispatched", hour(taken), _provider(taken)))
        times.append(("time_to_dispatch", hour(taken), _provider(taken), taken.occurred_at - _due(past, taken)))
    reports = [
        x
        for x in history[start:end]
        if isinstance(x, e.RecipientEvent) and x.recipient_id == id and x.event_id not in mistaken
        if _status(x) is not None and is_current(x.provider_at, since)
    ]
    ended = next(
        (x for x in history[start:end] if isinstance(x, ENDINGS) and not _had(history[start:end], x, id)), None
    )
    if stands.status in (S.DELIVERED, S.COMPLAINED):
        delivered = [x for x in reports if _status(x) is S.DELIVERED]
        first = (delivered or [x for x in reports if _status(x) is S.COMPLAINED])[0]
        found.append(("delivered", hour(first), _provider(first)))
        if delivered:
            times.append(("time_to_delivery", hour(first), first.provider, first.provider_at - _due(past, first)))
    elif stands.status in (S.BOUNCED, S.SUPPRESSED):
        why = next(x for x in reports if _status(x) is stands.status and x.provider_at == stands.at)
        found.append((_word(why), hour(why), _provider(why)))
        if stands.status is S.BOUNCED and not taken:
            found.append(("refused", hour(why), _provider(why)))
    elif ended and not taken:
        found.append((_word(ended), hour(ended), _provider(ended)))
    return found, times


def _took(event: e.Event, id: UUID) -> bool:
    if isinstance(event, e.EmailDispatched):
        return any(message.recipient_id == id for message in event.messages)
    if isinstance(event, e.EmailDeliveryResolved):
        return event.resolution is e.Resolution.ACCEPTED and id in event.recipients
    return False


def _had(round: Sequence[e.Event], ended: e.Event, id: UUID) -> bool:
    """Whether a provider had taken it before the email ended."""
    return any(_took(x, id) for x in round if x.originator_version < ended.originator_version)


def _due(history: Sequence[e.Event], event: e.Event) -> datetime:
    """Since when it could have been sent, as of an event."""
    known = [x for x in history if x.originator_version < event.originator_version]
    timed = [x for x in known if isinstance(x, (e.EmailQueued, e.EmailRescheduled, e.EmailRequeued))]
    return getattr(timed[-1], "send_at", None) or timed[-1].occurred_at


def _word(event: e.Event) -> str:
    match event:
        case e.EmailRecipientDeliveryFailed():
            return f"bounced_{event.bounce_class}" if event.bounce_class else "rejected"
        case e.EmailRecipientSuppressed():
            return "suppressed"
        case e.EmailDeliveryFailed():
            return "suppressed" if event.error_class == "suppressed" else "failed"
        case e.EmailExpired():
            return "expired"
    return "cancelled"


def _calls(history: Sequence[e.Event]) -> tuple[list[Found], list[Timed]]:
    counts: list[Found] = []
    times: list[Timed] = []
    for x in history:
        if isinstance(x, e.EmailFeedbackUnattributed):
            counts.append(("unattributed", hour(x), x.provider, None))
        if isinstance(x, e.EmailDeliveryDeferred) and x.provider:
            counts.append(("deferred", hour(x), x.provider, None))
        if isinstance(x, e.EmailDeliveryStarted):
            counts.append(("attempts", hour(x), x.provider, None))
            after = [y for y in history if y.originator_version > x.originator_version]
            outcome = next((y for y in after if _is_outcome(y, x.attempt)), None)
            if outcome:
                word = _outcome(outcome)
                counts.append((word, hour(outcome), x.provider, None))
                if word not in ("in_doubt", "call_expired"):
                    took = outcome.occurred_at - x.occurred_at
                    times.append(("provider_latency", hour(outcome), x.provider, took))
    return counts, times


def _is_outcome(event: e.Event, attempt: int) -> bool:
    if isinstance(event, e.EmailExpired):
        return True
    kinds = (e.EmailDispatched, e.EmailDeliveryDeferred, e.EmailDeliveryFailed, e.EmailDeliveryUnconfirmed)
    return isinstance(event, kinds) and event.attempt == attempt and event.provider is not None


def _outcome(event: e.Event) -> str:
    match event:
        case e.EmailDispatched():
            return "taken"
        case e.EmailDeliveryUnconfirmed():
            return "in_doubt"
        case e.EmailExpired():
            return "call_expired"
        case e.EmailDeliveryDeferred() | e.EmailDeliveryFailed():
            return f"error_{event.error_class}"
    raise AssertionError(event)


def summed(histories: Sequence[Sequence[e.Event]]) -> Counter[tuple[object, ...]]:
    """Every row there has to be, as (tenant, dimension, hour, value, measure)."""
    main = {"accepted", "recipients", "requeued", "dispatched", "refused", "delivered", "rejected", "suppressed"}
    main |= {"bounced_hard", "bounced_soft", "bounced_undetermined", "failed", "cancelled", "expired"}
    main |= {"complained", "opened", "clicked", "unsubscribed"}
    total: Counter[tuple[object, ...]] = Counter()
    for history in histories:
        queued = history[0]
        assert isinstance(queued, e.EmailQueued)
        domains = {r.id: r.address.rpartition("@")[2].lower() for r in queued.recipients}
        for measure, at, provider, id in counted(history)[0]:
            places = [("all", ""), ("stream", queued.stream)] + ([("provider", provider)] if provider else [])
            if measure in main:
                places += [("tag", f"{tag.name}:{tag.value}") for tag in queued.tags]
                places += [("domain", d) for d in ({domains[id]} if id else set(domains.values()))]
            for dimension, value in places:
                total[queued.tenant, dimension, at, value, measure] += 1
    return total
