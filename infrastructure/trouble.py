"""How long a read model whose fold failed is left alone."""

import time

FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0


class Trouble:
    """A pause that doubles with each failure in a row."""

    def __init__(self) -> None:
        self._until = 0.0
        self._wait = FIRST_WAIT
        self._what: str | None = None

    def over(self) -> bool:
        return time.monotonic() >= self._until

    def begin(self, what: str) -> bool:
        """Start a pause, each longer than the one before. Whether this trouble is a new one."""
        self._until = time.monotonic() + self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        new, self._what = what != self._what, what
        return new
