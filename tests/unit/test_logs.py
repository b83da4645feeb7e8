"""Tests for `sseserver.logs`."""

import json
import logging
import os
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO, FileIO, StringIO, TextIOWrapper
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sseserver import logs
from sseserver.errors import CloseReason


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Leave no trace of a configuration for other tests."""
    yield
    structlog.reset_defaults()
    logging.getLogger().removeHandler(logs._library_messages)


def written(log_format: str, /, event: str = "happened", **fields: object) -> str:
    """Return what one event at `info` looks like in a format."""
    stream = StringIO()
    logs.configure("info", log_format, stream)
    structlog.get_logger().info(event, **fields)
    return stream.getvalue()


def written_json(event: str = "happened", **fields: object) -> dict[str, Any]:
    """Return the object of one JSON line, without its timestamp."""
    line: dict[str, Any] = json.loads(written("json", event, **fields))
    del line["timestamp"]
    return line


def fail(text: str) -> None:
    """Raise what a bug could raise."""
    raise ValueError(text)


# ---- masking ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "connected",
        "1735819800000-abc123def",
        "1735819800000-012345678",
        "1735819800000-415555267",
        "2026-01-02T10:30:00.123Z",
        "2026-01-02T10:30:00+01:00",
        "2026-01-02 10:30:00.123456",
        "02/01/2026 10:30",
        "01-02-2026 10:30",
        "192.168.100.200",
        "192.168.100.200:8080",
        "010.000.000.001",
        "2001:db8::8a2e:370:7334",
        "::ffff:192.0.2.128",
        "user-1-orders-1735819800000",
        "anonymous-prices-1735819800000",
        "550e8400-e29b-41d4-a716-446655440000",
        "00000000-0123-4567-8901-234567890123",
        "1735819800123",
        "415555267",
        "415555267123",
        "1735819800.123",
        "4155552671.50",
        "1.4155552671",
        "-4155552671",
        "0x4155552671",
        "a4155552671",
        "4155552671b",
        "4155552671_1",
        "4155552671-1",
        "r:4155552671:1",
        "4155552671-orders",
        "o-4155552671-orders-1735819800000",
        "c-0151-23456789",
        "00123456-7890-1234-5678-901234567890",
        "0012345678-abc123def",
        "0049-01-02 03:04:05",
        "01.02.2026.10.30",
        "Zm9v-_1234567890",
        "0151:23456789",
        "187.2",
        "1234567.8901",
        "-12345.67",
        "+01:00",
        "+1234",
        "ORD-0001-0002-0003",
        "5@10.5",
        "@here",
        "nats://127.0.0.1:4222",
        "/api/stream/trading?userId=user-1&symbols=AAPL,GOOGL",
        "/run/415/555/2671",
        '{"a":1,"@type":"b"}',
        '"q q"@host',
        "50%40",
        "%40",
        "(12) of (345)",
    ],
)
def test_what_is_no_personal_data_stays(text: str) -> None:
    """IDs, times, addresses, numbers and paths come through a mask as they are."""
    assert text == logs.mask(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("jane@example.com", "***@***"),
        ("Jane.Doe+news@mail.example.co.uk", "***@***"),
        ("o'brien@example.com", "***@***"),
        ("'jane@example.com'", "'***@***'"),
        ("<jane@example.com>", "<***@***>"),
        ("write to jane@example.com.", "write to ***@***."),
        ("a@example.com,b@example.com", "***@***,***@***"),
        ("jürgen@müller.example", "***@***"),
        ("jane@163.com", "***@***"),
        ("jane@example.com-orders-1735819800000", "***@***-orders-1735819800000"),
        ("jane@corp-orders-1735819800000", "***@corp-orders-1735819800000"),
        ("root@[192.0.2.1]", "***@[192.0.2.1]"),
        ("mailto:jane@example.com?subject=x", "mailto:***@***?subject=x"),
        ("/trading?userId=jane%40example.com&x=1", "/trading?userId=***@***&x=1"),
        ("userId=jane%2Bx%40example.com", "userId=***@***"),
        ("nats://user:secret@host:4222", "nats://user:***@host:4222"),
        ('"q q"@x.org', "***@***"),
        ('to "q \\"q\\" q"@x.org, now', "to ***@***, now"),
        (r"to \"q q\"@x.org", r"to \***@***"),
        ('"j@ne"@[192.0.2.1]', "***@[192.0.2.1]"),
        ("%22q%22%40x.org", "***@***"),
        ('say "hi" to jane@example.com', 'say "hi" to ***@***'),
        ("jane\uff20example.com", "***@***"),
        ("jane\uff20example\uff0ecom", "***@***"),
        ("jane@\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "***@***"),
    ],
)
def test_email_addresses_are_masked(text: str, masked: str) -> None:
    """An e-mail address goes wherever it stands, and what stands around it stays."""
    assert masked == logs.mask(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+14155552671", "***"),
        ("+1 415 555 2671", "***"),
        ("+1 (415) 555-2671", "***"),
        ("+1-555-0100", "***"),
        ("+49 (0)30 901820", "***"),
        ("+44\u00a020\u00a07946\u00a00958", "***"),
        ("%2B14155552671", "***"),
        ("tel:+14155552671", "tel:***"),
        ("+14155552671-orders-1735819800000", "***-orders-1735819800000"),
        ("+14155552671 at 1735819800000", "*** at 1735819800000"),
        ("415-555-2671", "***"),
        ("415.555.2671", "***"),
        ("415 555 2671", "***"),
        ("415\u2011555\u20112671", "***"),
        ("1-800-555-0199", "***"),
        ("call 415-555-2671, now", "call ***, now"),
        ("415-555-2671-orders-1735819800000", "***-orders-1735819800000"),
        ("(415) 555-2671", "***"),
        ("(415)555-2671", "***"),
        ("(11) 91234-5678", "***"),
        ("020 7946 0958", "***"),
        ("030/901820", "***"),
        ("01 23 45 67 89", "***"),
        ("03-1234-5678", "***"),
        ("0049 151 12345678", "***"),
        ("0049-151-12345678-orders-1735819800000", "***-orders-1735819800000"),
        ("0049151 12345678", "***"),
        ("0049 (0)151/12345678", "***"),
        ("0049 30 901820 1735819800000", "*** 1735819800000"),
        ("004915112345678", "***"),
        ("0151-23456789", "***"),
        ("0151 2345 6789", "***"),
        ("015123456789", "***"),
        ("4155552671", "***"),
        ("14155552671", "***"),
        ("1735819800", "***"),  # epoch seconds look the same
        ("at 10:05 415-555-2671", "at 10:05 ***"),
        ("02/01/2026 020 7946 0958", "02/01/2026 ***"),
        ("call 4155552671.", "call ***."),
        ("4155552671: no answer", "***: no answer"),
        ("tel:4155552671", "tel:***"),
        ("?userId=4155552671&x=1", "?userId=***&x=1"),
        ("\u96fb\u8a714155552671", "\u96fb\u8a71***"),
        ("4155552671-orders-1735819800000", "***-orders-1735819800000"),
        ("4155552671-ai-decisions-1735819800000", "***-ai-decisions-1735819800000"),
        ("4155552671-strategies/s-1-1735819800000", "***-strategies/s-1-1735819800000"),
        ("+\u0664\u0669 \u0661\u0665\u0661 \u0661\u0662\u0663\u0664\u0665\u0666", "***"),
        ("\u0660\u0661\u0665\u0661-\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669", "***"),
        ("\u0664\u0661\u0665\u0665\u0665\u0665\u0662\u0666\u0667\u0661", "***"),
        ("\uff0b\uff14\uff19\uff0d\uff13\uff10\uff0d\uff19\uff10\uff11\uff18\uff12\uff10", "***"),
        ("\uff08\uff10\uff13\uff09\uff11\uff12\uff13\uff14\u3000\uff15\uff16\uff17\uff18", "***"),
    ],
)
def test_phone_numbers_are_masked(text: str, masked: str) -> None:
    """A phone number goes in its usual spellings, and what stands around it stays."""
    assert masked == logs.mask(text)


@given(
    number=st.from_regex(r"[1-9][0-9]{9,10}|0[1-9][0-9]{8,10}|00[1-9][0-9]{7,14}", fullmatch=True),
    zero=st.sampled_from("0\u0660\u06f0\u0966\uff10\U0001d7ce"),
    before=st.sampled_from(["", " ", "user ", "=", "/", '"', "(", ",", "tel:", "\n"]),
    after=st.sampled_from(["", " ", ".", ". ", ": x", ",", ")", '"', "/", "&x=1", "-orders-17"]),
)
def test_no_bare_phone_number_survives(number: str, zero: str, before: str, after: str) -> None:
    """A word of as many digits as a phone number has goes, whatever script it is in."""
    number = "".join(chr(ord(zero) + int(digit)) for digit in number)

    assert f"{before}***{after}" == logs.mask(f"{before}{number}{after}")


@given(
    st.uuids(),
    st.binary(min_size=12, max_size=12),
    st.decimals(-(10**12), 10**12, places=2),
)
def test_no_correlation_id_and_no_decimal_is_ever_masked(
    uuid: UUID, raw: bytes, price: Decimal
) -> None:
    """UUIDs, base64url with a letter in it, and numbers with a fraction stay readable."""
    text = f"{uuid} r{urlsafe_b64encode(raw).decode()} {price}"

    assert text == logs.mask(text)


@given(
    ms=st.integers(0, 10**14),
    suffix=st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=9, max_size=9),
    stream=st.sampled_from(["orders", "positions", "prices", "ai-decisions"]),
)
def test_no_id_is_ever_masked(ms: int, suffix: str, stream: str) -> None:
    """Whatever the time and the random part: event IDs and client IDs stay readable."""
    text = f"{ms}-{suffix} user-1-{stream}-{ms}"

    assert text == logs.mask(text)


@given(st.ip_addresses(), st.datetimes())
def test_no_address_and_no_time_is_ever_masked(address: object, moment: datetime) -> None:
    """IP addresses and ISO 8601 timestamps stay readable."""
    text = f"{address} {moment.isoformat()}Z"

    assert text == logs.mask(text)


@given(
    st.from_regex(r"[a-z][a-z0-9._+-]{0,20}@([a-z0-9-]{1,10}\.){1,3}[a-z]{2,6}", fullmatch=True),
    st.text(st.sampled_from(' ,;:/<>()[]{}|"\n\t'), max_size=5),
)
def test_no_email_address_survives(address: str, around: str) -> None:
    """Nothing of an address that stands between separators is left."""
    assert f"{around}***@***{around}" == logs.mask(f"{around}{address}{around}") or (
        ".-" in address or "@-" in address  # no host name has such a label
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(unit * (200_000 // len(unit)) + "@", id=unit)
        for unit in [
            *["a", "x@", "a.", "%40", "%", "1 ", "+1", "0123 ", "(", "(123) ", "0", "a@1."],
            *['"', '"a', '\\"', '"\\', '""@a.a.', '\\"@', "00", "0049 ", "0(", "tel:", "\u0660"],
            *["\uff20", "\uff08", "0151-", "4155552671-", "4155552671 "],
        ]
    ],
)
def test_masking_hostile_text_takes_linear_time(text: str) -> None:
    """200 KB made to confuse the patterns take milliseconds, not hours."""
    assert isinstance(logs.mask(text), str)


# ---- JSON -------------------------------------------------------------------------------


def test_a_json_line_has_time_level_and_event_first() -> None:
    """One object a line; timestamp, level and event, then the fields as they were given."""
    line = written("json", "connected", client_id="c-1", events=3)

    assert re.fullmatch(
        r'\{"timestamp":"[0-9T:.-]+Z","level":"info","event":"connected",'
        r'"client_id":"c-1","events":3\}\n',
        line,
    )


def test_the_timestamp_is_now_in_utc_with_milliseconds() -> None:
    """Timestamps are ISO 8601 in UTC with milliseconds and a Z."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    text = json.loads(written("json"))["timestamp"]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "exception"])
def test_the_level_is_the_methods_name(level: str) -> None:
    """Each method writes its level; `exception` is an error."""
    stream = StringIO()
    logs.configure("debug", "json", stream)

    getattr(structlog.get_logger(), level)("happened")

    expected = "error" if level == "exception" else level
    assert expected == json.loads(stream.getvalue())["level"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (CloseReason.IDLE, "idle"),
        (PurePosixPath("/run/x"), "/run/x"),
        (ip_address("::1"), "::1"),
        (ValueError("no"), "no"),
        (b"raw", "b'raw'"),
        (("a", 1), ["a", 1]),
        ({"only"}, ["only"]),
        (frozenset({1}), [1]),
        ({1: {"a": [None]}}, {"1": {"a": [None]}}),
        ("\udc80 ok", "\\udc80 ok"),
    ],
)
def test_a_value_of_any_kind_becomes_json(value: object, kept: object) -> None:
    """What JSON knows stays what it is; everything else is logged as its text."""
    assert {"level": "info", "event": "happened", "value": kept} == written_json(value=value)


def test_personal_data_is_masked_at_any_depth() -> None:
    """Masking reaches the event, keys, nested values and the text of objects."""
    assert written_json(
        event="jane@example.com left",
        nested={"jane@example.com": ["+14155552671", ("a", {"b": "x@example.com"})]},
        error=ValueError("bad user jane@example.com"),
    ) == {
        "level": "info",
        "event": "***@*** left",
        "nested": {"***@***": ["***", ["a", {"b": "***@***"}]]},
        "error": "bad user ***@***",
    }


def test_a_value_without_end_is_cut() -> None:
    """A list that holds itself does not keep the logger busy for ever."""
    loop: list[object] = []
    loop.append(loop)

    value = written_json(value=loop)["value"]

    assert f"{'[' * 15}…{']' * 15}" == str(value).replace("'", "")


def test_a_field_never_hides_level_or_timestamp() -> None:
    """A field of the same name is dropped: a reader can trust these three keys."""
    assert {"level": "info", "event": "happened"} == written_json(level="error", timestamp="x")


def test_an_exception_is_logged_with_its_stack() -> None:
    """`exception` carries type, text and stack, masked like everything else."""
    stream = StringIO()
    logs.configure("info", "json", stream)
    try:
        fail("bad user jane@example.com")
    except ValueError:
        structlog.get_logger().exception("failed")

    text = json.loads(stream.getvalue())["exception"]

    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("\nValueError: bad user ***@***")
    assert "jane" not in text


def test_json_escapes_what_a_terminal_acts_on() -> None:
    """Control and direction characters are escapes in the line, and intact after parsing."""
    hostile = "a\nb\r\x00\x1b[31m\x7f\x9b31m\u2028\u202e\ufeff\ufffdü"

    line = written("json", value=hostile)

    assert '"a\\nb\\r\\u0000\\u001b[31m\\u007f\\u009b31m\\u2028\\u202e\\ufeff\ufffdü"' in line
    assert json.loads(line)["value"] == hostile


@given(st.text())
def test_json_is_one_line_for_any_text(text: str) -> None:
    """No text breaks a line, and every line is JSON."""
    lines = written("json", text, value=text).split("\n")

    assert ["event", "level", "timestamp", "value"] == sorted(json.loads(lines[0]))
    assert [""] == lines[1:]


# ---- console ----------------------------------------------------------------------------


def test_a_console_line_is_for_people() -> None:
    """Time, level, event and fields stand in one line without colours off a terminal."""
    line = written("console", "connected", client_id="c-1", events=3)

    assert re.fullmatch(r"[0-9T:.-]+Z \[info     \] connected +client_id=c-1 events=3\n", line)


def test_the_console_escapes_what_a_terminal_acts_on() -> None:
    """Nothing unprintable reaches a terminal, wherever it was put."""
    hostile = "a\x1b[31m\x9b\u202e"

    line = written("console", hostile, value=hostile, nested=[hostile])

    assert line.removesuffix("\n").isprintable()
    assert line.count(r"a\x1b[31m\x9b\u202e") == 3


@given(st.text())
def test_the_console_is_one_line_for_any_text(text: str) -> None:
    """No text breaks a line or hides in it."""
    line = written("console", text, value=text, nested={"a": [text]})

    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_the_console_indents_a_stack() -> None:
    """A line break in an exception's text cannot look like a line of ours."""
    stream = StringIO()
    logs.configure("info", "console", stream)
    try:
        fail("bad\n2026-01-02T10:30:00.000Z [info     ] forged\x1b by jane@x.org")
    except ValueError:
        structlog.get_logger().exception("failed")

    first, *rest = stream.getvalue().splitlines()

    assert first.endswith("failed")
    assert all(line.startswith("    ") for line in rest)
    assert rest[-1] == "    2026-01-02T10:30:00.000Z [info     ] forged\\x1b by ***@***"


@pytest.mark.parametrize(
    ("log_format", "beginning"), [("auto", b"\x1b["), ("console", b"\x1b["), ("json", b'{"')]
)
def test_a_terminal_gets_the_console_in_colour(log_format: str, beginning: bytes) -> None:
    """On a terminal `auto` means console, and the console has colours there."""
    controller, terminal = os.openpty()
    try:
        with os.fdopen(terminal, "w") as stream:
            logs.configure("info", log_format, stream)
            structlog.get_logger().info("happened")
            line = os.read(controller, 4096)
    finally:
        os.close(controller)

    assert beginning == line[:2]


def test_auto_is_json_off_a_terminal() -> None:
    """A file or a pipe gets JSON lines when nothing else is asked for."""
    assert json.loads(written("auto"))["event"] == "happened"


# ---- levels and streams -----------------------------------------------------------------


class Untouchable:
    """An argument that must not be looked at."""

    def __str__(self) -> str:
        raise AssertionError("a disabled level looked at its arguments")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_a_level_shows_itself_and_what_is_worse(level: str, shown: list[str]) -> None:
    """Lines below the level are not written."""
    stream = StringIO()
    logs.configure(level, "json", stream)
    log = structlog.get_logger()

    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("happened")

    assert shown == [json.loads(line)["level"] for line in stream.getvalue().splitlines()]


def test_a_disabled_level_does_not_look_at_its_arguments() -> None:
    """What is not logged costs a call and nothing else."""
    stream = StringIO()
    logs.configure("info", "json", stream)

    structlog.get_logger().bind(client_id="c-1").debug("happened", value=Untouchable())

    assert stream.getvalue() == ""


def test_a_new_level_applies_to_loggers_in_use() -> None:
    """After SIGHUP also a logger that was bound at connect follows the new level."""
    stream = StringIO()
    logs.configure("info", "json", stream)
    log = structlog.get_logger()
    bound = log.bind(client_id="c-1")
    bound.debug("before")

    logs.set_level("debug")
    bound.debug("more")
    log.debug("more")
    logs.set_level("error")
    bound.warning("less")
    log.warning("less")

    assert ["more", "more"] == [
        json.loads(line)["event"] for line in stream.getvalue().splitlines()
    ]


def test_a_new_configuration_applies_to_loggers_in_use() -> None:
    """Loggers that were used before write to the new stream in the new format."""
    old, new = StringIO(), StringIO()
    logs.configure("info", "console", old)
    log = structlog.get_logger()
    bound = log.bind(client_id="c-1")
    log.info("before")
    length = len(old.getvalue())

    logs.configure("info", "json", new)
    log.info("after")
    bound.info("after")

    assert len(old.getvalue()) == length
    assert ["after", "after"] == [json.loads(line)["event"] for line in new.getvalue().splitlines()]


def test_a_closed_stream_ends_nothing() -> None:
    """Lines after the stream was closed are lost, and nothing else."""
    stream = StringIO()
    logs.configure("info", "json", stream)
    stream.close()

    structlog.get_logger().info("happened")

    assert stream.closed


def test_a_full_disk_ends_nothing() -> None:
    """Lines that no room is left for are lost, and nothing else."""
    with TextIOWrapper(FileIO("/dev/full", "w"), write_through=True) as stream:
        logs.configure("info", "json", stream)
        structlog.get_logger().info("happened")

        with pytest.raises(OSError, match="No space left"):
            stream.write("x")


def test_a_stream_that_knows_only_ascii_gets_escapes() -> None:
    """A name in another script is escaped where the terminal cannot show it."""
    raw = BytesIO()
    stream = TextIOWrapper(raw, encoding="ascii")
    logs.configure("info", "json", stream)

    structlog.get_logger().info("happened", name="Jürgen")

    assert b'"name":"J\\xfcrgen"' in raw.getvalue()


# ---- libraries --------------------------------------------------------------------------


def test_what_libraries_report_becomes_our_line() -> None:
    """Warnings and errors sent to `logging` are masked lines of the same format."""
    stream = StringIO()
    logs.configure("info", "json", stream)
    logs.configure("info", "json", stream)  # twice must not mean double lines
    library = logging.getLogger("some.library")

    library.info("not shown")
    library.warning("user %s", "jane@example.com")
    try:
        fail("no")
    except ValueError:
        library.exception("failed")

    first, second = map(json.loads, stream.getvalue().splitlines())
    del first["timestamp"]
    assert first == {
        "level": "warning",
        "event": "library_message",
        "logger": "some.library",
        "message": "user ***@***",
    }
    assert ("error", "failed") == (second["level"], second["message"])
    assert second["exception"].endswith("ValueError: no")


def test_a_library_that_reports_an_exception_without_one_is_no_trouble() -> None:
    """`exc_info` outside an exception handler logs the message."""
    stream = StringIO()
    logs.configure("info", "json", stream)

    logging.getLogger("some.library").error("failed", exc_info=sys.exc_info())

    assert json.loads(stream.getvalue())["message"] == "failed"


# ---- announcements ----------------------------------------------------------------------


def test_an_announcement_is_written_whatever_the_level() -> None:
    """`listening` is waited for by other programs: no level hides it."""
    stream = StringIO()
    logs.configure("error", "json", stream)
    logs.announce("listening", port=8080)
    line = json.loads(stream.getvalue())
    del line["timestamp"]

    assert line == {"level": "info", "event": "listening", "port": 8080}
