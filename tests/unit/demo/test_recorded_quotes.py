"""Tests for `sseserver.demo.recorded_quotes`."""

import gzip
import os
from decimal import Decimal
from pathlib import Path

import pytest

from sseserver.demo.market import MarketQuote
from sseserver.demo.recorded_quotes import (
    QuotesError,
    QuotesFile,
    RecordedQuote,
    check_quotes,
    open_quotes,
    read_quotes,
)
from sseserver.errors import ConfigError

HEADER = "timestamp,symbol,price,bid,ask\n"
ROW = "2012-06-21T13:30:00.004Z,AAPL,585.635,585.33,585.94\n"
QUOTE = MarketQuote("AAPL", Decimal("585.635"), Decimal("585.33"), Decimal("585.94"))


def test_a_row_becomes_a_quote_with_its_time() -> None:
    """Prices keep their digits, the time is in seconds since the epoch."""
    assert [RecordedQuote(1340285400.004, QUOTE)] == list(read_quotes([HEADER, ROW]))


def test_columns_may_stand_in_any_order_among_others() -> None:
    """The header says what is where."""
    lines = ["ask,venue,bid,price,symbol,timestamp\n", "3,X,1,2,A,2026-01-02T00:00:00+02:00\n"]
    quote = MarketQuote("A", Decimal(2), Decimal(1), Decimal(3))

    assert [RecordedQuote(1767304800.0, quote)] == list(read_quotes(lines))


def test_a_time_without_a_zone_is_utc() -> None:
    """Where the file is read does not change it."""
    row = "2012-06-21 13:30:00.004,AAPL,585.635,585.33,585.94\n"

    assert [RecordedQuote(1340285400.004, QUOTE)] == list(read_quotes([HEADER, row]))


def test_rows_keep_the_order_of_the_file_and_blank_lines_are_left_out() -> None:
    """Also where time stands still or steps back."""
    rows = [f"2026-01-02T00:00:0{second}Z,S{second},1,1,1\n" for second in (3, 1, 1, 2)]
    quotes = read_quotes([HEADER, rows[0], "\n", *rows[1:]])

    assert ["S3", "S1", "S1", "S2"] == [recorded.quote.symbol for recorded in quotes]


def test_rows_are_read_one_at_a_time() -> None:
    """A row is given out before the next one is asked for."""
    lines = iter([HEADER, ROW, "broken\n"])
    quotes = read_quotes(lines)

    assert next(quotes).quote == QUOTE
    assert "broken\n" == next(lines)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "line 1: the columns timestamp, symbol, price, bid, ask are missing"),
        ("timestamp,symbol,price\n", "line 1: the columns bid, ask are missing"),
        (HEADER + "x,AAPL\n", "line 2: 2 fields are too few"),
        (
            HEADER + ROW + ROW.replace("2012-06-21T13:30:00.004Z", "noon"),
            "line 3: timestamp 'noon' is not ISO 8601",
        ),
        (
            HEADER + ROW.replace("AAPL", ""),
            "line 2: symbol '' is not a name of 1 to 128 characters",
        ),
        (
            HEADER + ROW.replace("AAPL", "A\x1b"),
            "line 2: symbol 'A\\x1b' is not a name of 1 to 128 characters",
        ),
        (
            HEADER + ROW.replace("AAPL", "A" * 129),
            f"line 2: symbol '{'A' * 129}' is not a name of 1 to 128 characters",
        ),
        (HEADER + ROW.replace("585.635", "cheap"), "line 2: price 'cheap' is not a price"),
        (HEADER + ROW.replace("585.33", "NaN"), "line 2: bid 'NaN' is not a price"),
        (HEADER + ROW.replace("585.33", "sNaN"), "line 2: bid 'sNaN' is not a price"),
        (HEADER + ROW.replace("585.33", "Infinity"), "line 2: bid 'Infinity' is not a price"),
        (HEADER + ROW.replace("585.94", "-1"), "line 2: ask '-1' is not a price"),
        (HEADER + ROW.replace("585.94", "1e16"), "line 2: ask '1e16' is not a price"),
        (HEADER + ROW.replace("585.94", "1e-10"), "line 2: ask '1e-10' is not a price"),
        (HEADER + '"open', "line 2: unexpected end of data"),
    ],
)
def test_a_malformed_file_is_named_by_line_and_fault(text: str, error: str) -> None:
    """The first fault is said with its line and value."""
    with pytest.raises(QuotesError) as raised:
        list(read_quotes(text.splitlines(keepends=True)))

    assert error == str(raised.value)


def write(path: Path, text: str, *, is_compressed: bool = False) -> Path:
    """Write a file of quotes."""
    path.write_bytes(gzip.compress(text.encode()) if is_compressed else text.encode())
    return path


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_file_is_read_compressed_or_not(tmp_path: Path, is_compressed: bool) -> None:
    """Whatever its name says; a byte order mark is no part of the first column."""
    path = write(tmp_path / "quotes", "\ufeff" + HEADER + ROW, is_compressed=is_compressed)

    with open_quotes(path) as lines:
        assert [QUOTE] == [recorded.quote for recorded in read_quotes(lines)]


def test_checking_counts_rows_and_symbols(tmp_path: Path) -> None:
    """A good file is summed up, symbols in the order of their first quotes."""
    rows = ROW.replace("AAPL", "GOOG") + ROW + ROW

    path = write(tmp_path / "quotes.csv", HEADER + rows)

    assert QuotesFile(path, 3, ("GOOG", "AAPL")) == check_quotes(path)


def test_a_bad_file_is_a_configuration_error(tmp_path: Path) -> None:
    """The problem names the option, the file, the line and the fault."""
    path = write(tmp_path / "quotes.csv", HEADER + ROW + "x\n")

    with pytest.raises(ConfigError) as raised:
        check_quotes(path)

    assert str(raised.value) == f"--quotes: {path}: line 3: 1 fields are too few"


def fault(path: Path) -> str:
    """Return what is wrong with a file."""
    with pytest.raises(ConfigError) as raised:
        check_quotes(path)
    return raised.value.problems[0].allowed


def test_no_file_is_a_fault(tmp_path: Path) -> None:
    """A path with nothing there."""
    assert fault(tmp_path / "quotes.csv") == "no such file"


def test_a_pipe_is_a_fault(tmp_path: Path) -> None:
    """It is read again and again, which a pipe cannot be."""
    os.mkfifo(tmp_path / "pipe")

    assert fault(tmp_path / "pipe") == "not a regular file"


def test_an_empty_recording_is_a_fault(tmp_path: Path) -> None:
    """There would be nothing to replay."""
    assert fault(write(tmp_path / "quotes.csv", HEADER)) == "there are no quotes in it"


def test_a_text_that_is_not_utf_8_is_a_fault(tmp_path: Path) -> None:
    """No guess is made at its encoding."""
    path = tmp_path / "quotes.csv"
    path.write_bytes(HEADER.encode() + b"\xff\xfe")

    assert fault(path) == "not UTF-8 text"


def test_a_damaged_archive_is_a_fault(tmp_path: Path) -> None:
    """Cut short, or with bytes that were changed."""
    whole = gzip.compress((HEADER + ROW * 1000).encode())
    cut, changed = tmp_path / "cut.gz", tmp_path / "changed.gz"
    cut.write_bytes(whole[:-20])
    changed.write_bytes(whole[:10] + b"\xff" * 20 + whole[30:])

    assert fault(cut) == "Compressed file ended before the end-of-stream marker was reached"
    assert fault(changed).startswith("Error -3 while decompressing data")


def test_a_file_that_may_not_be_read_is_a_fault(tmp_path: Path) -> None:
    """The system's words are passed on."""
    path = tmp_path / ("x" * 300)

    assert fault(path) == "File name too long"
