"""A surprise is recorded once: what was being done, what kind of error, and where. Never its message.

An exception's message may quote an address or a body, and logs must not hold personal data.
"""

import logging
from traceback import extract_tb


def log_surprise(log: logging.Logger, doing: str, error: BaseException) -> None:
    """One log line at level ERROR; `doing` says what was being done, with ids but no personal data."""
    frames = (
        f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)
    )
    log.error("%s: %s at %s", doing, type(error).__name__, " < ".join(reversed(list(frames))) or "?")
