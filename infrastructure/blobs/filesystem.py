"""Attachments in a directory: `aa/bb/<sha256>`, never rewritten, complete and durable as soon as they have their name.

Several processes may share the directory. `.lock` is held shared while a blob gets its name or a new age, and
exclusively while one is judged and deleted, so that a delete cannot slip between the two halves of a put.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from application.errors import BlobMissing, BlobStoreUnavailable

_P = ParamSpec("_P")
_T = TypeVar("_T")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENOUGH = 1 << 20  # bytes gathered before they are worth a trip to a thread; most attachments need one trip in all
_CHUNK = 1 << 16  # bytes read at a time by whoever streams
_STALE = 24 * 3600.0  # seconds after which a temporary file belongs to a process that died
_LOCK = ".lock"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FilesystemBlobs:
    """A BlobStore on a local or network file system."""

    def __init__(self, directory: Path) -> None:
        self._shelf = _Shelf(directory)

    async def put(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        upload = _Upload(self._shelf)
        gathered: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                gathered.append(chunk)
                size += len(chunk)
                if size >= _ENOUGH:
                    await _in_thread(upload.write, b"".join(gathered))
                    gathered, size = [], 0
            return await _in_thread(upload.finish, b"".join(gathered))
        except BaseException:
            await _in_thread(upload.abandon)
            raise

    async def get(self, sha256: str) -> bytes:
        return await _in_thread(self._shelf.read, sha256)

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        file = await _in_thread(self._shelf.open, sha256)
        try:
            while chunk := await _in_thread(file.read, _CHUNK):
                yield chunk
        finally:
            file.close()

    async def list(self) -> AsyncIterator[tuple[str, datetime]]:
        for prefix in await _in_thread(self._shelf.prefixes):
            for found in await _in_thread(self._shelf.under, prefix):
                yield found

    async def delete(self, sha256: str, unless_put_after: datetime) -> bool:
        return await _in_thread(self._shelf.delete, sha256, unless_put_after)


async def _in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        # Not the error itself: its text has the path, which is nobody's business outside.
        raise BlobStoreUnavailable(f"The attachment store failed: {error.strerror or type(error).__name__}.") from None


class _Shelf:
    """The directory, in blocking calls."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = directory / "tmp"
        self._durable: set[Path] = set()  # directories whose own entries are known to be on disk
        self._swept = False

    def temporary(self) -> tuple[int, str]:
        """A new file that no reader will look at."""
        self._temporary.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            self._sweep()
        return tempfile.mkstemp(dir=self._temporary)

    def keep(self, temporary: str, sha256: str, size: int) -> None:
        """Give a finished file its name, or an existing blob a new age; durable on return."""
        path = self._path(sha256)
        now = time.time_ns()  # exact: the kernel's own stamp may lie some milliseconds back, before a sweep's limit
        with self._locked(fcntl.LOCK_SH):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size == size:
                os.utime(path, ns=(now, now))
                os.unlink(temporary)
            else:
                os.utime(temporary, ns=(now, now))
                os.rename(temporary, path)
        self._make_durable(path.parent)

    def read(self, sha256: str) -> bytes:
        with self.open(sha256) as file:
            return file.read()

    def open(self, sha256: str) -> BinaryIO:
        path = self._path(sha256)
        try:
            return path.open("rb")
        except FileNotFoundError:
            # Every put leaves the lock file. Without it this is not the store, but where it should be mounted.
            os.stat(self._directory / _LOCK)
            raise BlobMissing from None

    def prefixes(self) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self._directory) if len(name) == 2)
        return []

    def under(self, prefix: str) -> list[tuple[str, datetime]]:
        found = []
        for path in sorted(self._directory.joinpath(prefix).glob("*/*")):
            with suppress(FileNotFoundError):  # deleted since
                if _SHA256.fullmatch(path.name):
                    found.append((path.name, _put_at(path)))
        return found

    def delete(self, sha256: str, unless_put_after: datetime) -> bool:
        with self._locked(fcntl.LOCK_EX), suppress(FileNotFoundError, BlobMissing):
            path = self._path(sha256)
            if _put_at(path) < unless_put_after:
                path.unlink()
                return True
        return False

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):  # nothing else may become part of a path
            raise BlobMissing
        return self._directory / sha256[:2] / sha256[2:4] / sha256

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)  # which unlocks it

    def _make_durable(self, directory: Path) -> None:
        """Sync the directory, and once per process those above it: another process may have died after mkdir."""
        _sync(directory)
        for parent in (directory.parent, self._directory, self._directory.parent):
            if directory not in self._durable:
                _sync(parent)
                self._durable.add(directory)
            directory = parent

    def _sweep(self) -> None:
        for path in self._temporary.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()


class _Upload:
    """One put on its way. The lock is for a cancelled task: its last write may still be running in a thread."""

    def __init__(self, shelf: _Shelf) -> None:
        self._shelf = shelf
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: int | None = None
        self._path = ""
        self._lock = threading.Lock()
        self._abandoned = False

    def write(self, data: bytes) -> None:
        with self._lock:
            self._append(data)

    def finish(self, data: bytes) -> tuple[str, int]:
        with self._lock:
            file = self._append(data)
            os.fsync(file)
            self._shelf.keep(self._path, self._hash.hexdigest(), self._size)
            self._path = ""
            self._close()
            return self._hash.hexdigest(), self._size

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            self._close()

    def _append(self, data: bytes) -> int:
        if self._abandoned:  # cancelled before the thread began
            raise OSError("abandoned")
        if self._file is None:
            self._file, self._path = self._shelf.temporary()
        self._hash.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)


def _put_at(path: Path) -> datetime:
    return _EPOCH + timedelta(microseconds=path.stat().st_mtime_ns // 1000)


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
