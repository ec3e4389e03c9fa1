"""Checkpoints: what the chain came to at a moment, signed, to be kept where nobody who can change the log can."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import BigInteger, Column, Connection, Index, MetaData, Row, Table, Text, func, select
from sqlalchemy.dialects import postgresql, sqlite

from infrastructure.audit.blocks import Block, log_id, newest
from infrastructure.audit.signing import Signer, unsigned
from projections.columns import Instant

_TYPE = "postledger.checkpoint.v1"
_Hash = Field(pattern=r"^[0-9a-f]{64}$")

AUDIT_CHECKPOINTS = Table(
    "audit_checkpoints",
    MetaData(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("document", Text, nullable=False),  # JSON, as it was signed
    Index("audit_checkpoints_by_position", "position"),
)
_c = AUDIT_CHECKPOINTS.c


class Checkpoint(BaseModel):
    """What a checkpoint says."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: str = Field(pattern=f"^{_TYPE}$")
    log_id: str = _Hash
    position: int
    count: int
    chain: str = _Hash
    time: AwareDatetime
    key_id: str | None
    signature: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint as it is stored."""

    number: int
    position: int
    made_at: datetime
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """Raises ValueError for what is no checkpoint."""
        return read(self.text)


def read(text: str) -> dict[str, Any]:
    """A checkpoint as the document that was signed. Raises ValueError for what is none."""
    document = json.loads(text)
    try:
        Checkpoint.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"it is no checkpoint: {error.error_count()} of its fields are missing or wrong") from None
    return dict(document)


def make(connection: Connection, signer: Signer | None, now: datetime) -> Kept:
    """Make one of where the chain stands, and keep it."""
    document = of(log_id(connection) or b"", newest(connection), now)
    signed = signer.sign(document) if signer else unsigned(document)
    return _add(connection, signed, now)


def of(log: bytes, block: Block, now: datetime) -> Mapping[str, Any]:
    """What there is to sign at the end of a block."""
    return {
        "type": _TYPE,
        "log_id": log.hex(),
        "position": block.last,
        "count": block.total,
        "chain": block.chain.hex(),
        "time": now.isoformat(),
    }


def create(connection: Connection) -> None:
    AUDIT_CHECKPOINTS.metadata.create_all(connection)


def latest(connection: Connection) -> Kept | None:
    row = connection.execute(select(AUDIT_CHECKPOINTS).order_by(_c.number.desc()).limit(1)).one_or_none()
    return _kept(row) if row else None


def page(connection: Connection, limit: int, before: int | None = None) -> list[Kept]:
    """The newest first; `before` a number, exclusive."""
    query = select(AUDIT_CHECKPOINTS).order_by(_c.number.desc()).limit(limit)
    return [_kept(row) for row in connection.execute(query.where(_c.number < before) if before is not None else query)]


def between(connection: Connection, after: int | None, up_to: int | None) -> list[Kept]:
    """Those at positions after one up to another, in this order; None: from the beginning, to the end."""
    query = select(AUDIT_CHECKPOINTS).order_by(_c.position, _c.number)
    if after is not None:
        query = query.where(_c.position > after)
    return [_kept(row) for row in connection.execute(query.where(_c.position <= up_to) if up_to is not None else query)]


def _add(connection: Connection, document: Mapping[str, Any], now: datetime) -> Kept:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    text = json.dumps(document)
    while True:  # until nobody else takes the same number
        number = int(connection.execute(select(func.coalesce(func.max(_c.number), 0) + 1)).scalar_one())
        kept = Kept(number, document["position"], now, text)
        values = {"number": number, "position": kept.position, "made_at": now, "document": text}
        fresh = insert(AUDIT_CHECKPOINTS).values(values).on_conflict_do_nothing().returning(_c.number)
        if connection.execute(fresh).first():
            return kept


def _kept(row: Row[Any]) -> Kept:
    return Kept(row.number, row.position, row.made_at, row.document)
