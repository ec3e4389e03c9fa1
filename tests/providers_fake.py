"""A provider that does what the test says, and a blob store in memory."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

from application.errors import BlobMissing, ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.answer import Answer
from domain.events import ProviderMessage

Script = Callable[[OutgoingMessage], Awaitable[Answer] | Answer]


def accepted(message: OutgoingMessage) -> Answer:
    """The provider took it for everyone in the envelope."""
    return Answer(
        messages=tuple(ProviderMessage(recipient_id=r.id, message_id=f"m-{r.id}") for r in message.recipients)
    )


class ScriptedProvider:
    """Answers by script, one entry a call, the last one for ever after. Keeps every message it was given."""

    def __init__(self, *script: Script | Answer | Exception, evidence: Answer | None = None) -> None:
        self.name = "scripted"
        self.separate = False
        self.sent: list[OutgoingMessage] = []
        self.evidence = evidence
        self._script: Sequence[Script | Answer | Exception] = script or (accepted,)

    async def send(self, message: OutgoingMessage) -> Answer:
        entry = self._script[min(len(self.sent), len(self._script) - 1)]
        self.sent.append(message)
        if isinstance(entry, Exception):
            raise entry
        if isinstance(entry, Answer):
            return entry
        answer = entry(message)
        return answer if isinstance(answer, Answer) else await answer

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        return self.evidence

    async def check(self) -> str | None:
        return None

    async def close(self) -> None:
        pass


class ListingProvider(ScriptedProvider):
    """A provider with a suppression list; `breaks_off` has it fail at the list's end."""

    def __init__(self, listed: Sequence[ListedSuppression], *, breaks_off: bool = False) -> None:
        super().__init__()
        self._listed = listed
        self._breaks_off = breaks_off

    async def suppressions(self) -> AsyncIterator[ListedSuppression]:
        for listed in self._listed:
            yield listed
        if self._breaks_off:
            raise ProviderTrouble


class MemoryBlobs:
    """Implements the port BlobStore in a dictionary."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, tzinfo=UTC), *blobs: bytes) -> None:
        self.now = now
        self._blobs: dict[str, tuple[bytes, datetime]] = {hashlib.sha256(b).hexdigest(): (b, now) for b in blobs}

    async def put(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        data = b"".join([chunk async for chunk in chunks])
        sha256 = hashlib.sha256(data).hexdigest()
        self._blobs[sha256] = (data, self.now)
        return sha256, len(data)

    async def get(self, sha256: str) -> bytes:
        if sha256 not in self._blobs:
            raise BlobMissing
        return self._blobs[sha256][0]

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        data = await self.get(sha256)
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    async def list(self) -> AsyncIterator[tuple[str, datetime]]:
        for sha256, (_, put_at) in list(self._blobs.items()):
            yield sha256, put_at

    async def delete(self, sha256: str, unless_put_after: datetime) -> bool:
        if sha256 not in self._blobs or self._blobs[sha256][1] > unless_put_after:
            return False
        del self._blobs[sha256]
        return True
