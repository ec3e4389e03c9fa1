"""A lock on a file that the kernel gives back when its holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def sole_holder(path: Path) -> Iterator[None]:
    """Hold the lock for as long as the block runs. Raises Held at once when another process has it.

    The file stays: removing it would let two processes lock two files of one name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held from None
        os.truncate(file.fileno(), 0)
        file.write(f"{os.getpid()}\n")  # for people who wonder
        file.flush()
        yield
