"""/hooks as strangers meet it: raw requests in process, any bytes in any order, and what is left of them."""

import asyncio
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, func, select

from application.feedback import RecordFeedback
from application.inbox import InboxFilter, TranslateInbox
from application.provider_lists import FollowProviderLists
from domain import events as e
from domain.answer import Answer
from infrastructure.inbox import INBOX_TABLE, Kept
from infrastructure.sent_messages import SqlSentMessages
from infrastructure.web.app import create_app
from projections import provider_messages
from tests.providers.tellers import TELLERS, smtp
from tests.providers.tellers.teller import Letter, Post, Word
from tests.samples import LEASE, queued, stamp, stored_content
from tests.web.world import World

ADA = "ada@example.com"
T = TypeVar("T")
Headers = Iterable[tuple[bytes, bytes]]


class Door:
    """A service with one provider of each kind, called as its kind."""

    def __init__(self, world: World, runner: asyncio.Runner) -> None:
        self.world = world
        self.app = create_app(world.service)
        self._runner = runner
        for kind, teller in TELLERS.items():
            world.sources[kind] = teller.make(kind, teller.url("127.0.0.1:9", 1.0), world.clock)  # type: ignore[assignment]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @property
    def now(self) -> datetime:
        return self.world.clock()

    # -- asking

    def tell(self, kind: str, post: Post, method: str = "POST") -> int:
        return self.knock(f"/hooks/{kind}", raw(post.headers), post.body, method=method)

    def knock(self, path: str, headers: Headers, *chunks: bytes, method: str = "POST") -> int:
        return self.run(self.ask(path, headers, *chunks, method=method))

    async def ask(self, path: str, headers: Headers, *chunks: bytes, method: str = "POST") -> int:
        """The status; 0 when nobody was answered. The body comes in these chunks; asking for more than all fails."""
        messages = iter([{"type": "http.request", "body": c, "more_body": True} for c in chunks[:-1]])
        last = {"type": "http.request", "body": chunks[-1], "more_body": False} if chunks else None
        status = 0

        async def receive() -> dict[str, Any]:
            nonlocal last
            if (message := next(messages, None)) is None:
                message, last = last, None
            assert message is not None, "more was asked for than there is"
            return message

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": list(headers)}
        await self.app(scope, receive, send)
        return status

    # -- what is left

    def outcomes(self) -> Counter[tuple[str, str]]:
        """How often what became of a provider's deliveries, as the metrics have it."""
        families = text_string_to_metric_families(self.world.service.metrics.text().decode())
        samples = [sample for family in families if family.name == "postledger_hooks" for sample in family.samples]
        counted: Counter[tuple[str, str]] = Counter()
        for sample in samples:
            if sample.name.endswith("_total"):
                counted[sample.labels["provider"], sample.labels["outcome"]] = int(sample.value)
        return counted

    def kept(self) -> int:
        return self.run(self.world.database.ask(_count))

    def entries(self) -> list[Kept]:
        return self.run(self.world.inbox.page(InboxFilter(), None, 1000))

    def position(self) -> int:
        return self.run(self.world.ledger.position())

    # -- the other side

    def sent(self, kind: str) -> Letter:
        """An email to Ada that this provider has taken."""
        email = queued(ADA)
        (recipient,) = email.standing.recipients
        email.start_delivery(kind, "default", LEASE, stamp(self.now))
        taken = Answer(messages=(e.ProviderMessage(recipient_id=recipient, message_id=f"{kind}-1"),))
        email.conclude(1, taken, stamp(self.now), chance=0)
        self.run(self.world.ledger.append(email.collect_events(), [stored_content(email)]))
        return Letter(str(email.id), str(recipient), (ADA,), f"{kind}-1", smtp.token(str(email.id), 0))

    def genuine(self, kind: str, letter: Letter, word: Word = "delivered", id: str = "genuine") -> Post:
        teller = TELLERS[kind]
        return teller.sign(teller.event(word, letter, ADA, self.now), self.now, id)

    def translate(self) -> None:
        """Everything that is due."""
        world = self.world
        lists = FollowProviderLists(world.suppressions, {"default"}, world.clock)
        record = RecordFeedback(world.ledger, SqlSentMessages(world.database), lists, world.clock)
        translate = TranslateInbox(world.inbox, world.sources, record, world.clock)

        async def all_of_it() -> None:
            while await translate.step():
                pass

        self.run(all_of_it())

    def reports(self, letter: Letter) -> list[str]:
        history = self.run(self.world.ledger.load(UUID(letter.email_id)))
        return [recorded.event.TYPE for recorded in history if isinstance(recorded.event, e.RecipientEvent)]


@contextmanager
def open_door(directory: Path) -> Iterator[Door]:
    with asyncio.Runner() as runner:
        world = World(directory)
        door = Door(world, runner)
        runner.run(_prepare(world))
        try:
            yield door
        finally:
            runner.run(_close(world))


def without_secrets(post: Post) -> Post:
    """The password, and our token in a bounce address, are as somebody would guess who has not seen them."""
    guessed = {name: f"Basic {b64encode(b'hooks:guess').decode()}" for name in post.headers if name == "Authorization"}
    body = re.sub(rb"\+([a-z2-7]{45})@", lambda token: b"+" + token[1][::-1] + b"@", post.body)
    return Post({**post.headers, **guessed}, body)


def raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _prepare(world: World) -> None:
    await world.inbox.prepare()
    await world.database.tell(_create)


async def _close(world: World) -> None:
    for source in world.sources.values():
        await source.close()  # type: ignore[attr-defined]  # they send, too
    await world.inbox.close()
    await world.close()


def _create(connection: Connection) -> None:
    for table in provider_messages.PROJECTION.tables(""):
        table.metadata.create_all(connection)


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(INBOX_TABLE)).scalar_one())
