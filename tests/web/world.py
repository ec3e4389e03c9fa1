"""A whole service to ask over HTTP: a real SQLite ledger, real read models, attachments in memory."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, text

from application.attachment_links import AttachmentLinks
from application.change_email import ChangeEmailHandler
from application.deciding import decide
from application.errors import BlobStoreUnavailable
from application.inbox import HookDoor
from application.limits import Admission, LimitSettings, Quotas
from application.policies import Policies
from application.ports import FeedbackSource, Recorded, StoredContent
from application.send_email import SendEmailHandler
from application.suppressions import Suppressions
from domain import events as e
from domain.answer import Answer
from domain.content import Content
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.provider_state import ProviderState
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.database.signal import Signal
from infrastructure.inbox import SqlInbox
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.sqlite import SqliteEventStore
from infrastructure.web.service import Service
from projections import activity, audit, dead_letters, emails, recipients, statistics, suppressions, unconfirmed
from tests.fakes import FakeLimits
from tests.providers_fake import MemoryBlobs
from tests.samples import LEASE, stamp

KEY, OTHER_KEY = "pl_the-first-tenants-key", "pl_another-tenants-key"
LINK_KEY = b"a-key-that-signs-links"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, by: timedelta) -> None:
        self.now += by


class BreakableBlobs(MemoryBlobs):
    """A blob store; `away` makes it unavailable."""

    away = False

    async def put(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        if self.away:
            raise BlobStoreUnavailable
        return await super().put(chunks)


class BreakableLedger:
    """The real ledger, until `trouble` is set: then that is what every call raises."""

    def __init__(self, ledger: EventLedger) -> None:
        self._ledger = ledger
        self.trouble: Exception | None = None

    async def append(self, events: Sequence[e.Event], contents: Sequence[StoredContent] = ()) -> int:
        return await self._sound().append(events, contents)

    async def load(self, stream_id: UUID) -> list[Recorded]:
        return await self._sound().load(stream_id)

    async def load_content(self, email_id: UUID) -> Content | None:
        return await self._sound().load_content(email_id)

    async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        return await self._sound().read(after, limit, topics)

    async def position(self) -> int:
        return await self._sound().position()

    async def wait(self, after: int, timeout: float) -> None:
        await self._sound().wait(after, timeout)

    def _sound(self) -> EventLedger:
        if self.trouble is not None:
            raise self.trouble
        return self._ledger


class ReadModels:
    """Folds what the ledger has whenever somebody waits for it; `held_back` keeps them behind."""

    def __init__(self, ledger: EventLedger, database: Database) -> None:
        self._ledger = ledger
        self._database = database
        self._position = 0
        self.held_back = False

    async def wait_for(self, position: int, timeout: float) -> bool:
        if self.held_back:
            return False
        events = await self._ledger.read(self._position, 10_000)
        await self._database.tell(_fold, events)
        self._position = events[-1].position if events else self._position
        return self._position >= position


_MODELS = (activity, audit, dead_letters, emails, recipients, statistics, suppressions, unconfirmed)


def _fold(connection: Connection, events: Sequence[Recorded]) -> None:
    for projection in (model.PROJECTION for model in _MODELS):
        for table in projection.tables(""):
            table.metadata.create_all(connection)
        projection.fold(connection, projection.tables(""), events)


def _delete_content(connection: Connection, id: str) -> None:
    deleted = connection.execute(text("DELETE FROM email_content WHERE email_id = :id"), {"id": UUID(id).hex})
    assert deleted.rowcount == 1


class World:
    """What a test can reach behind the API."""

    def __init__(
        self, directory: Path, max_body_bytes: int = 1 << 20, tenants: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """`tenants` are their limits, as in settings."""
        path = directory / "postledger.db"
        self.clock = Clock()
        self.blobs = BreakableBlobs()
        self.sources: dict[str, FeedbackSource] = {}
        self.database = Database.open(f"sqlite:///{path}")
        self.changed = Signal()
        self._events = EventLedger(SqliteEventStore(path), self.changed)
        self.ledger = BreakableLedger(self._events)
        self.suppressions = Suppressions(self.ledger, self.clock)
        self.inbox = SqlInbox(self.database, Wakeups(f"sqlite:///{path}"))
        self.read_models = ReadModels(self._events, self.database)
        self.checks: Mapping[str, str | None] = {"ledger": None}
        self.provider_states: list[ProviderState] = []
        quotas = Quotas(LimitSettings.model_validate({"tenants": tenants or {}}))
        self.service = Service(
            send_email=SendEmailHandler(
                *(self.ledger, self.blobs, self.suppressions, self.clock, Policies(DeliveryPolicy())),
                Admission(quotas, FakeLimits(), self.clock),
            ),
            change_email=ChangeEmailHandler(self.ledger, self.clock, ("sandbox", "backup")),
            hooks=HookDoor(self.inbox, self.sources),
            suppressions=self.suppressions,
            ledger=self.ledger,
            contents=self.ledger,
            database=self.database,
            wait_for=self.read_models.wait_for,
            api_keys={KEY: "default", OTHER_KEY: "other"},
            clock=self.clock,
            max_body_bytes=max_body_bytes,
            ready=self._ready,
            provider_states=lambda: self.provider_states,
            blobs=self.blobs,
            links=AttachmentLinks("https://mail.example.com", [LINK_KEY], timedelta(days=30)),
        )

    async def close(self) -> None:
        await self._events.close()
        self.database.close()

    async def fail(self, id: str) -> None:
        """The one attempt at this email is refused for good."""
        refused = Answer(error_class=ErrorClass.PERMANENT, reason="rejected")
        await self._attempt(id, lambda email, attempt: email.conclude(attempt, refused, self._stamp(), chance=0.5))

    async def lose_answer(self, id: str) -> None:
        """The provider's answer to the one attempt at this email is lost."""
        lost = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
        await self._attempt(id, lambda email, attempt: email.conclude(attempt, lost, self._stamp(), chance=0.5))

    async def put_off(self, id: str) -> None:
        """The one attempt at this email does not work now."""
        away = Answer(error_class=ErrorClass.TRANSIENT, reason="connection_refused")
        await self._attempt(id, lambda email, attempt: email.conclude(attempt, away, self._stamp(), chance=1))

    async def expire(self, id: str) -> None:
        """A worker notices that this email's time has passed."""
        await decide(self._events, UUID(id), lambda email: email.expire(self._stamp()))

    async def purge(self, id: str) -> None:
        """Delete the content, as a retention rule would."""
        await self.database.tell(_delete_content, id)

    async def _attempt(self, id: str, conclude: Callable[[Email, int], None]) -> None:
        def ask(email: Email) -> None:
            conclude(email, email.start_delivery("sandbox", "only", LEASE, self._stamp()))

        await decide(self._events, UUID(id), ask)

    def _stamp(self) -> e.Stamp:
        return stamp(self.clock(), "worker")

    async def _ready(self) -> Mapping[str, str | None]:
        return self.checks
