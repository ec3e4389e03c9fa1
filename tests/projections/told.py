"""Lives in which providers say much: the same thing twice, something else than before, too late, or of nobody."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from uuid import UUID

from domain.feedback import Feedback, Kind
from tests.samples import stamp
from tests.strategies import Life

_SAID: Sequence[tuple[Kind, dict[str, object]]] = (
    (Kind.DELIVERED, {}),
    (Kind.DELIVERED, {}),
    (Kind.DEFERRED, {"smtp_status": 451}),
    (Kind.BOUNCED, {"bounce_class": "hard"}),
    (Kind.BOUNCED, {"bounce_class": "soft", "terminal": True}),
    (Kind.BOUNCED, {"bounce_class": "soft"}),
    (Kind.BOUNCED, {"bounce_class": "undetermined", "terminal": True}),
    (Kind.REJECTED, {"reason": "spam"}),
    (Kind.SUPPRESSED, {"reason": "bounce"}),
    (Kind.COMPLAINED, {}),
    (Kind.OPENED, {}),
    (Kind.OPENED, {"machine": True}),
    (Kind.CLICKED, {"url": "https://example.com/"}),
    (Kind.CLICKED, {"url": "https://example.com/", "machine": True}),
    (Kind.UNSUBSCRIBED, {}),
    (Kind.RESUBSCRIBED, {}),
    (Kind.SENT, {}),
)


class ToldLife(Life):
    """Now and then a provider says something, under few keys, so that it is said again, or corrected."""

    def step(self) -> None:
        if self.chance.random() < 0.6:
            super().step()
            return
        self.now += timedelta(seconds=self.chance.choice((0, 1, 70, 4000)))
        chance, (kind, more) = self.chance, self.chance.choice(_SAID)
        key = chance.randrange(8)
        person = chance.choice(tuple(self.email.standing.recipients)) if chance.random() < 0.9 else None
        said = Feedback(
            kind=kind,
            provider_type=kind.value,
            keys=(f"k{key}",),
            recipient_id=person,
            occurred_at=self.now - timedelta(seconds=chance.choice((0, 3, 500, 9000))),
            **more,  # type: ignore[arg-type]
        )
        self.email.hear(said, chance.choice(("main", "backup")), self.now, stamp(self.now), raw=UUID(int=key + 1))
        self.events += self.email.collect_events()


def told(chance: Random, emails: int, steps: int) -> list[Life]:
    """As `strategies.history`."""
    lives: list[Life] = [ToldLife(chance, chance.choice(("acme", "globex"))) for _ in range(emails)]
    for life in lives:
        for _ in range(chance.randrange(steps + 1)):
            life.step()
    return lives
