"""The floor of POST /hooks/sendgrid: verifies the signature, inserts a row for the delivery and one for each event."""

import json
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_TABLES = (
    "CREATE TABLE deliveries (id uuid PRIMARY KEY, body bytea NOT NULL)",
    "CREATE TABLE told (originator_id uuid, originator_version bigint, topic text, state bytea,"
    " notification_id bigserial PRIMARY KEY, UNIQUE (originator_id, originator_version))",
)
_COPY = "COPY told (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)"


class Floor:
    """One public key, one database."""

    def __init__(self, url: str, key: EllipticCurvePublicKey) -> None:
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(url, min_size=8, max_size=8, open=False)
        self._key = key

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        signature = b64decode(request.headers["x-twilio-email-event-webhook-signature"])
        timestamp = request.headers["x-twilio-email-event-webhook-timestamp"].encode()
        self._key.verify(signature, timestamp + body, ECDSA(SHA256()))
        rows = [(uuid4(), 1, each["event"], json.dumps(each).encode()) for each in json.loads(body)]
        async with self._pool.connection() as connection, connection.cursor() as cursor:
            await cursor.execute("INSERT INTO deliveries VALUES (%s, %s)", (uuid4(), body))
            async with cursor.copy(_COPY) as copy:
                copy.set_types(["uuid", "int8", "text", "bytea"])
                for row in rows:
                    await copy.write_row(row)
        return JSONResponse({})

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self._pool.open(wait=True)
        async with self._pool.connection() as connection:
            for statement in _TABLES:
                await connection.execute(statement.encode())
        yield
        await self._pool.close()


async def ready(request: Request) -> Response:
    return JSONResponse({})


if __name__ == "__main__":
    port, url, public = sys.argv[1:]
    loaded = load_der_public_key(b64decode(public))
    assert isinstance(loaded, EllipticCurvePublicKey)
    floor = Floor(url, loaded)
    routes = [Route("/hooks/sendgrid", floor.receive, methods=["POST"]), Route("/readyz", ready)]
    uvicorn.run(
        Starlette(routes=routes, lifespan=floor.lifespan),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
