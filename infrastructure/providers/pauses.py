"""How long a provider wants no calls at all: what it says of its rates along with an answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from domain.answer import Answer
from domain.delivery import ErrorClass
from infrastructure.providers.http import Reply

LONGEST = timedelta(hours=1)  # then it is asked again, whatever it said: one header is not to silence it for a month
_LONGEST_HINT = 31 * 86_400.0  # seconds
_OF_THE_ACCOUNT = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.QUOTA})


def with_pause(answer: Answer, exhausted: timedelta | None = None) -> Answer:
    """The answer, with the pause that it asks for: a rate is the account's, so the hint is for every email.

    `exhausted` is when there is more, where the provider said that this call was the last one for now.
    """
    hint = answer.retry_after if answer.error_class in _OF_THE_ACCOUNT else None
    pause = max(hint or timedelta(0), exhausted or timedelta(0))
    return replace(answer, pause=min(pause, LONGEST)) if pause > timedelta(0) else answer


def retry_after(reply: Reply, now: datetime) -> timedelta | None:
    """The header of that name, in either of its forms (RFC 9110 section 10.2.3)."""
    text = reply.headers.get("retry-after", "").strip()
    if (seconds := seconds_of(text)) is not None:
        return seconds
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    wait = at.replace(tzinfo=at.tzinfo or UTC) - now
    return wait if timedelta(0) < wait <= timedelta(seconds=_LONGEST_HINT) else None


def seconds_of(text: str | None) -> timedelta | None:
    """A number of seconds that is a sensible wait."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return None
    return timedelta(seconds=seconds) if 0 < seconds <= _LONGEST_HINT else None


def is_last(reply: Reply, name: str) -> bool:
    """Whether the header says that nothing remains of the rate."""
    return reply.headers.get(name, "").strip() == "0"
