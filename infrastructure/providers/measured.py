"""Any provider, with its send calls counted and timed."""

from time import perf_counter

from application.ports import EmailProvider, OutgoingMessage
from domain.answer import Answer
from infrastructure.metrics import Metrics


class Measured:
    """An EmailProvider that does what `provider` does."""

    def __init__(self, provider: EmailProvider, metrics: Metrics) -> None:
        self.name = provider.name
        self.separate = provider.separate
        self._provider = provider
        self._metrics = metrics

    async def send(self, message: OutgoingMessage) -> Answer:
        started, outcome = perf_counter(), "raised"
        try:
            answer = await self._provider.send(message)
            outcome = _outcome(answer)
            return answer
        finally:
            self._metrics.send(self.name, outcome, perf_counter() - started)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        return await self._provider.look_up(message)

    async def check(self) -> str | None:
        return await self._provider.check()

    async def close(self) -> None:
        await self._provider.close()


def _outcome(answer: Answer) -> str:
    if answer.error_class is not None:
        return "partial" if answer.messages else answer.error_class.value
    if not answer.messages:
        return "refused"
    return "partial" if answer.refused() or answer.put_off else "accepted"
