"""Attachments on disk."""

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.errors import BlobMissing, BlobStoreUnavailable
from infrastructure.blobs.filesystem import FilesystemBlobs

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2120, 1, 1, tzinfo=UTC)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def listed(blobs: FilesystemBlobs) -> dict[str, datetime]:
    return {sha256: at async for sha256, at in blobs.list()}


def temporary_files(directory: Path) -> list[str]:
    return os.listdir(directory / "tmp") if (directory / "tmp").exists() else []


def age(directory: Path, sha256: str) -> None:
    os.utime(directory / sha256[:2] / sha256[2:4] / sha256, (0, LONG_AGO.timestamp()))


@settings(deadline=None, max_examples=50)  # each example goes to the disk
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_what_is_put_can_be_got_under_its_hash(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    blobs = FilesystemBlobs(tmp_path_factory.getbasetemp() / "blobs")
    data = b"".join(chunks)

    async def scenario() -> None:
        sha256, size = await blobs.put(stream(*chunks))
        assert (sha256, size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert await blobs.get(sha256) == data
        assert sha256 in await listed(blobs)

    asyncio.run(scenario())


def test_a_large_blob_is_streamed(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)
    chunks = [bytes([number]) * 700_000 for number in range(7)]

    async def scenario() -> None:
        sha256, size = await blobs.put(stream(*chunks))
        assert size == 4_900_000
        assert await blobs.get(sha256) == b"".join(chunks)

    asyncio.run(scenario())
    assert temporary_files(tmp_path) == []


def test_putting_again_renews_the_age_and_keeps_the_file(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)

    async def scenario() -> None:
        sha256, _ = await blobs.put(stream(b"data"))
        path = tmp_path / sha256[:2] / sha256[2:4] / sha256
        inode = path.stat().st_ino
        age(tmp_path, sha256)
        before = datetime.now(UTC)
        await blobs.put(stream(b"da", b"ta"))
        assert path.stat().st_ino == inode
        assert (await listed(blobs))[sha256] >= before
        assert not await blobs.delete(sha256, unless_put_after=before)

    asyncio.run(scenario())
    assert temporary_files(tmp_path) == []


def test_a_blob_cut_short_by_a_failing_disk_is_replaced(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)

    async def scenario() -> None:
        sha256, _ = await blobs.put(stream(b"data"))
        (tmp_path / sha256[:2] / sha256[2:4] / sha256).write_bytes(b"da")
        await blobs.put(stream(b"data"))
        assert await blobs.get(sha256) == b"data"

    asyncio.run(scenario())


def test_only_old_blobs_are_deleted(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)

    async def scenario() -> None:
        sha256, _ = await blobs.put(stream(b"data"))
        assert not await blobs.delete(sha256, unless_put_after=LONG_AGO)
        assert await blobs.delete(sha256, unless_put_after=FAR_OFF)
        assert not await blobs.delete(sha256, unless_put_after=FAR_OFF)
        assert await listed(blobs) == {}
        with pytest.raises(BlobMissing):
            await blobs.get(sha256)

    asyncio.run(scenario())


def test_a_store_that_is_away_has_not_lost_its_blobs(tmp_path: Path) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    blobs = FilesystemBlobs(store)
    sha256, _ = asyncio.run(blobs.put(stream(b"data")))
    store.rename(elsewhere)
    with pytest.raises(BlobStoreUnavailable):
        asyncio.run(blobs.get(sha256))
    store.mkdir()  # an empty mount point
    with pytest.raises(BlobStoreUnavailable):
        asyncio.run(blobs.get(sha256))
    store.rmdir()
    elsewhere.rename(store)
    assert asyncio.run(blobs.get(sha256)) == b"data"


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" * 64])
def test_what_is_no_hash_is_never_a_path(tmp_path: Path, name: str) -> None:
    blobs = FilesystemBlobs(tmp_path)
    with pytest.raises(BlobMissing):
        asyncio.run(blobs.get(name))
    assert not asyncio.run(blobs.delete(name, unless_put_after=FAR_OFF))


def test_an_empty_store_lists_nothing(tmp_path: Path) -> None:
    assert asyncio.run(listed(FilesystemBlobs(tmp_path / "not there yet"))) == {}


async def breaking_stream(first: bytes) -> AsyncIterator[bytes]:
    yield first
    raise ConnectionResetError("the client went away")


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_client_that_goes_away_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    blobs = FilesystemBlobs(tmp_path)
    with pytest.raises(ConnectionResetError):
        asyncio.run(blobs.put(breaking_stream(b"x" * size)))
    assert temporary_files(tmp_path) == []
    assert asyncio.run(listed(blobs)) == {}


async def endless_stream(begun: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"x" * 3_000_000
    begun.set()
    await asyncio.Event().wait()


def test_a_cancelled_put_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()
        put = asyncio.create_task(FilesystemBlobs(tmp_path).put(endless_stream(begun)))
        await begun.wait()
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put

    asyncio.run(scenario())
    assert temporary_files(tmp_path) == []


def test_temporary_files_of_the_dead_are_swept(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    for name, seconds in (("dead", 2 * 24 * 3600), ("alive", 60)):
        (tmp_path / "tmp" / name).write_bytes(b"x")
        at = time.time() - seconds
        os.utime(tmp_path / "tmp" / name, (at, at))
    asyncio.run(FilesystemBlobs(tmp_path).put(stream(b"data")))
    assert temporary_files(tmp_path) == ["alive"]


def test_trouble_with_the_disk_is_told_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_bytes(b"a file")
    blobs = FilesystemBlobs(tmp_path / "in the way" / "ada@example.com")
    with pytest.raises(BlobStoreUnavailable) as caught:
        asyncio.run(blobs.put(stream(b"data")))
    assert str(caught.value) == "The attachment store failed: Not a directory."
    assert "ada@example.com" not in str(caught.value)


def test_a_delete_waits_for_a_put_in_another_process_and_then_sees_the_new_age(tmp_path: Path) -> None:
    blobs = FilesystemBlobs(tmp_path)

    async def scenario() -> None:
        sha256, _ = await blobs.put(stream(b"data"))
        age(tmp_path, sha256)
        now = datetime.now(UTC)
        with (tmp_path / ".lock").open() as lock:  # a put elsewhere, between looking and renewing
            fcntl.flock(lock, fcntl.LOCK_SH)
            delete = asyncio.create_task(blobs.delete(sha256, unless_put_after=now))
            done, _ = await asyncio.wait({delete}, timeout=0.1)
            assert not done
            await blobs.put(stream(b"data"))  # puts do not wait for each other
        assert not await delete
        assert await blobs.get(sha256) == b"data"

    asyncio.run(scenario())
