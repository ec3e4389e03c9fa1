"""An SMTP server that counts: how often each Message-ID was taken for delivery."""

import asyncio
import email
import random
from collections import Counter

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.service import free_port


class CountingSink:
    """Listens on loopback. Counts a message when it has taken it, before it answers: a kill may come in between."""

    def __init__(self, seed: int) -> None:
        self.taken: Counter[str] = Counter()
        self._random = random.Random(seed)
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=20)

    def __enter__(self) -> "CountingSink":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.taken[str(email.message_from_bytes(content)["Message-ID"])] += 1
        await asyncio.sleep(self._random.random() * 0.03)  # a window in which a kill leaves the answer unheard
        return "250 2.0.0 taken"
