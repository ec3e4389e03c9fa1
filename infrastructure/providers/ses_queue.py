"""SES's events from an SQS queue that is subscribed to their topic: nothing of ours has to be reachable from outside.

Who may write to the queue is for its policy to say (`aws:SourceArn` = the topic); there is no signature to check. SQS
delivers at least once and in any order. A message is deleted only when it is durably kept; until then it comes back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from application.errors import ProviderTrouble
from application.ports import Clock, Hook
from application.surprises import log_surprise
from infrastructure.providers import sns
from infrastructure.providers.reading import items, key, mapping, text
from infrastructure.providers.ses import SesSettings
from infrastructure.providers.ses_aws import Aws

_log = logging.getLogger(__name__)

Keep = Callable[[Hook, str], Awaitable[None]]

_AT_ONCE = 10  # messages; the most that SQS gives
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds


class SqsFeedback:
    """Brings what is in the queue to whoever keeps it."""

    def __init__(
        self, name: str, settings: SesSettings, clock: Clock, *, wait: int = 10, first_pause: float = _FIRST_PAUSE
    ) -> None:
        """`wait`: seconds that SQS holds an empty answer back, 1 to 20, and so the longest that stopping takes."""
        if settings.queue_url is None:
            raise ValueError("queue_url is missing")
        if not 1 <= wait <= 20:
            raise ValueError("wait must be from 1 to 20 seconds")
        self.name = name
        self._queue = settings.queue_url
        self._clock = clock
        self._wait = wait
        self._first_pause = first_pause
        self._aws = Aws(replace(settings.access, timeout=settings.access.timeout + wait, connections=1))

    async def run(self, keep: Keep, stop: asyncio.Event) -> None:
        """Until `stop` is set. `keep(hook, key)` returns when the message is durable, and raises when it is not.

        `key` is the same for every repetition of a delivery.
        """
        pause = self._first_pause
        while not stop.is_set():
            try:
                await self._round(keep)
                pause = self._first_pause
            except Exception as error:  # noqa: BLE001 - whatever it is, what is not deleted comes back
                self._log(error)
                await _sleep(pause, stop)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def close(self) -> None:
        await self._aws.close()

    async def _round(self, keep: Keep) -> None:
        """Take what is there, keep it, delete what was kept. Raises the first trouble, after all that."""
        answer = await self._aws.ask(
            "sqs",
            "receive_message",
            QueueUrl=self._queue,
            WaitTimeSeconds=self._wait,
            MaxNumberOfMessages=_AT_ONCE,
        )
        messages = [mapping(each) for each in items(answer.get("Messages"))]
        kept = await asyncio.gather(*(self._keep(each, keep) for each in messages), return_exceptions=True)
        await self._delete([each for each, trouble in zip(messages, kept, strict=True) if trouble is None])
        for trouble in kept:
            if trouble is not None:
                raise trouble

    async def _keep(self, message: Mapping[str, Any], keep: Keep) -> None:
        body = str(message.get("Body") or "").encode("utf-8", "replace")
        hook = Hook({"x-postledger-transport": "sqs"}, body, self._clock())
        await keep(hook, delivery_key(body, message.get("MessageId")))

    async def _delete(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if not messages:
            return
        entries = [{"Id": str(at), "ReceiptHandle": each.get("ReceiptHandle")} for at, each in enumerate(messages)]
        answer = await self._aws.ask("sqs", "delete_message_batch", QueueUrl=self._queue, Entries=entries)
        if failed := items(answer.get("Failed")):
            raise ProviderTrouble(f"delete_message_batch left {len(failed)} of {len(entries)} in the queue")

    def _log(self, error: Exception) -> None:
        doing = f"provider {self.name}: taking events from its queue"
        if isinstance(error, ProviderTrouble):
            _log.error("%s: %s", doing, error)  # made of an operation and a code
        else:
            log_surprise(_log, doing, error)


def delivery_key(body: bytes, message_id: object) -> str:
    """SNS's id of the message, the same in every queue and webhook; SQS's own where SNS's envelope was left out."""
    return text(sns.envelope(body).get("MessageId")) or text(message_id) or key(body)


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
