"""Recorded quotes: a CSV file, compressed or not, read row by row and never as a whole."""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, NamedTuple, TextIO, cast

from sseserver.demo.market import MarketQuote
from sseserver.errors import ConfigError, ConfigProblem, SseServerError

QUOTE_COLUMNS: Final = ("timestamp", "symbol", "price", "bid", "ask")
"""Columns that a file of recorded quotes must have (contract section 1), in any order."""

_MAX_PRICE: Final = Decimal("1e15")  # what the ingest port takes at most
_MAX_DECIMALS: Final = 9  # foreign exchange has 5 or 6, some coins 8
_MAX_NAME_CHARACTERS: Final = 128  # contract section 3
_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952, section 2.3.1


class RecordedQuote(NamedTuple):
    """A quote with the time at which it was recorded, in seconds since the epoch."""

    at_seconds: float
    quote: MarketQuote


class QuotesFile(NamedTuple):
    """A file of recorded quotes that has been read once and is well formed."""

    path: Path
    rows: int
    symbols: tuple[str, ...]


class QuotesError(SseServerError):
    """Recorded quotes that cannot be read; the text names the line and what is wrong."""


def check_quotes(path: Path) -> QuotesFile:
    """Read a file of recorded quotes once, from its first row to its last.

    Raises:
        ConfigError: The file cannot be read, has a malformed row, or has none.
    """
    rows = 0
    symbols: dict[str, None] = {}
    try:
        with open_quotes(path) as lines:
            for recorded in read_quotes(lines):
                rows += 1
                symbols[recorded.quote.symbol] = None
    except QuotesError as error:
        raise ConfigError([ConfigProblem("--quotes", str(path), str(error))]) from None
    if not rows:
        raise ConfigError([ConfigProblem("--quotes", str(path), "there are no quotes in it")])
    return QuotesFile(path, rows, tuple(symbols))


@contextmanager
def open_quotes(path: Path) -> Iterator[Iterable[str]]:
    """Open a CSV file for `read_quotes`.

    Raises:
        QuotesError: It cannot be opened; also, inside the context, when it cannot be read on.
    """
    try:
        if not path.is_file():  # it is read more than once, which a pipe cannot be
            raise QuotesError("not a regular file" if path.exists() else "no such file")
        with _open_text(path) as lines:
            yield lines
    except UnicodeDecodeError:
        raise QuotesError("not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        # What gzip raises has no errno, only a text.
        raise QuotesError(getattr(error, "strerror", None) or str(error)) from None


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        is_compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if is_compressed:
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def read_quotes(lines: Iterable[str]) -> Iterator[RecordedQuote]:
    """Yield the rows of a CSV file of recorded quotes, in their order.

    Args:
        lines: The file's lines, the first one naming the columns (`QUOTE_COLUMNS`; others
            are ignored).

    Raises:
        QuotesError: A column is missing or a row is malformed.

    Source: contract section 1.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        missing = [column for column in QUOTE_COLUMNS if column not in header]
        if missing:
            raise QuotesError(f"line 1: the columns {', '.join(missing)} are missing")
        places = [header.index(column) for column in QUOTE_COLUMNS]
        for row in reader:
            if row:
                yield _parse_row(row, places, reader.line_num)
    except csv.Error as error:
        raise QuotesError(f"line {reader.line_num}: {error}") from None


def _parse_row(row: list[str], places: list[int], line: int) -> RecordedQuote:
    """Return one row's quote; a `timestamp` without a zone is UTC."""
    if len(row) <= max(places):
        raise QuotesError(f"line {line}: {len(row)} fields are too few")
    timestamp, symbol, *prices = (row[place] for place in places)
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        raise QuotesError(f"line {line}: timestamp {timestamp!r} is not ISO 8601") from None
    if not (1 <= len(symbol) <= _MAX_NAME_CHARACTERS and symbol.isprintable()):
        raise QuotesError(f"line {line}: symbol {symbol!r} is not a name of 1 to 128 characters")
    price, bid, ask = (
        _parse_price(name, text, line) for name, text in zip(QUOTE_COLUMNS[2:], prices, strict=True)
    )
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return RecordedQuote(at.timestamp(), MarketQuote(symbol, price, bid, ask))


def _parse_price(name: str, text: str, line: int) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    exponent = value.as_tuple().exponent  # a letter for NaN and the infinities
    if isinstance(exponent, int) and exponent >= -_MAX_DECIMALS and 0 <= value <= _MAX_PRICE:
        return value
    raise QuotesError(f"line {line}: {name} {text!r} is not a price")
