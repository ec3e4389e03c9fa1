"""A provider of feedback for tests: a delivery is JSON that says in our own words what it means."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from application.errors import Untrusted, VerificationUnavailable
from application.ports import Hook
from domain.feedback import Feedback, Kind

SIGNED = {"x-signature": "good"}


class WordForWord:
    """Implements FeedbackSource. The header `x-signature` must be `good`; `away` makes verification impossible."""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.away = False
        self.renamed: dict[str, str] = {}  # a translator that has learnt: kinds to be read as others
        self.followed: list[Hook] = []

    async def verify(self, hook: Hook) -> str:
        if self.away:
            raise VerificationUnavailable
        if hook.headers.get("x-signature") != "good":
            raise Untrusted("bad_signature")
        return hook.headers.get("x-key") or str(hash(hook.body))

    def translate(self, hook: Hook) -> Sequence[Feedback]:
        return [self._feedback(each) for each in json.loads(hook.body)]

    async def follow_up(self, hook: Hook) -> None:
        self.followed.append(hook)

    def _feedback(self, said: dict[str, Any]) -> Feedback:
        kind = self.renamed.get(said["kind"], said["kind"])
        return Feedback(
            kind=Kind(kind),
            provider_type=said["kind"],
            keys=(said["key"],),
            occurred_at=datetime.fromisoformat(said["at"]) if "at" in said else None,
            email_id=UUID(said["email_id"]) if "email_id" in said else None,
            recipient=said.get("recipient"),
            provider_message_id=said.get("message_id"),
            bounce_class="hard" if kind == "bounced" else None,
            reason=said.get("reason"),
            terminal=True,
            add_to_suppression=kind == "bounced",
        )
