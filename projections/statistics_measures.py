"""What statistics count, by which dimensions, and how they sketch times. `docs/statistics.md` says what each means."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from ddsketch.mapping import LogarithmicMapping

Dimension = Literal["all", "stream", "provider", "tag", "domain"]

# Where recipients ended, each in one of these at most; a requeue lets one end once more.
ENDS = (
    *("delivered", "bounced_hard", "bounced_soft", "bounced_undetermined", "rejected"),
    *("suppressed", "failed", "cancelled", "expired"),
)
BOUNCES = ("bounced_hard", "bounced_soft", "bounced_undetermined")
MAIN = (
    *("accepted", "recipients", "requeued", "dispatched", "refused", *ENDS),
    *("complained", "opened", "clicked", "unsubscribed"),
)
# Not counted by tag or domain: of those there are as many as clients like, and each measure is a row an hour.
MORE = ("opened_by_machine", "opens", "clicked_by_machine", "clicks", "delayed", "unattributed")
# Each of the `attempts` (calls to a provider) has one of these outcomes; after a `deferred` one another was planned.
OUTCOMES = ("taken", "in_doubt", "call_expired")
ERROR = "error_"  # followed by the error class: an outcome too

TIMES = ("time_to_dispatch", "time_to_delivery", "provider_latency")
BRIEF: frozenset[Dimension] = frozenset({"tag", "domain"})  # have the main measures only, and no times
BRIEFLY = frozenset(MAIN)

ACCURACY = 0.02  # of a time: relative
_SKETCH = LogarithmicMapping(ACCURACY)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = 3_600_000_000


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def hour_of(at: datetime) -> int:
    """Hours since 1970, in UTC."""
    return micros(at) // _HOUR


def start_of(hour: int) -> datetime:
    return _EPOCH + timedelta(hours=hour)


def bucket(micros: int) -> int:
    """Where a sketch keeps a time: in whole milliseconds, and at least one, for clocks may differ."""
    key: int = _SKETCH.key(max(micros // 1000, 1))
    return key


def typical(bucket: int) -> float:
    """Milliseconds that stand for all of a bucket: within `ACCURACY` of each."""
    value: float = _SKETCH.value(bucket)
    return value


def tag_name(name: str, value: str) -> str:
    """A tag as it is shown, and asked for."""
    return f"{name}:{value}"
