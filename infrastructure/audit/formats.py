"""The formats of exports: each writes rows of the same columns into one file, and says how large it has become."""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

# Envelope, then the event's own fields as JSON. Ids and times are text, so that every reader takes them alike.
COLUMNS = (
    *("position", "type", "stream_id", "version", "event_id", "occurred_at", "tenant", "actor"),
    *("correlation_id", "causation_id", "traceparent", "data"),
)
_NUMBERS = ("position", "version")
Row = Mapping[str, Any]


class FormatMissing(Exception):
    """What a format needs is not installed."""


class File(Protocol):
    """One file of an export."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def size(self) -> int:
        """Bytes so far, or about so."""
        ...

    def close(self) -> None:
        """Durable from now on."""
        ...


class NdjsonFile:
    """One JSON object a line, `data` inside it."""

    def __init__(self, path: Path) -> None:
        self._file = _created(path)

    def write(self, rows: Sequence[Row]) -> None:
        lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
        self._file.write("".join(f"{line}\n" for line in lines).encode())

    def size(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        _close(self._file)


class CsvFile:
    """RFC 4180 in UTF-8 with a header; `data` is JSON text."""

    def __init__(self, path: Path) -> None:
        self._file = _created(path)
        self._text = io.TextIOWrapper(self._file, encoding="utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text)
        self._csv.writerow(COLUMNS)

    def write(self, rows: Sequence[Row]) -> None:
        self._csv.writerows([row[name] for name in COLUMNS[:-1]] + [_json(row["data"])] for row in rows)

    def size(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._text.flush()
        self._text.detach()
        _close(self._file)


class ParquetFile:
    """Parquet with zstd; `data` is JSON text. A row group for each batch of rows."""

    def __init__(self, path: Path) -> None:
        arrow, parquet = _pyarrow()
        self._arrow = arrow
        fields = [(name, arrow.int64() if name in _NUMBERS else arrow.string()) for name in COLUMNS]
        self._schema = arrow.schema(fields)
        self._file = _created(path)
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        values = {name: [row[name] for row in rows] for name in COLUMNS[:-1]}
        values["data"] = [_json(row["data"]) for row in rows]
        self._writer.write_table(self._arrow.table(values, schema=self._schema))

    def size(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._writer.close()
        _close(self._file)


FORMATS: Mapping[str, Callable[[Path], File]] = {"ndjson": NdjsonFile, "csv": CsvFile, "parquet": ParquetFile}


def check(format: str) -> None:
    """Raises FormatMissing, before anything is read or written."""
    if format == "parquet":
        _pyarrow()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise FormatMissing("Parquet needs pyarrow: pip install 'postledger[parquet]'.") from None
    return pyarrow, pyarrow.parquet


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _created(path: Path) -> BinaryIO:
    """A new file, for its owner only: it is full of people."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
