"""Tests for `sseserver.client.tail`, against a real HTTP server."""

import asyncio
import json
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator

import httpx
import httpx_sse
import pytest

from sseserver.client import tail
from sseserver.client.tail import Follower, Options, json_line, run, wants_colour
from tests.unit.client.fake_stream_server import EVENT_STREAM, response, serving, stream_server

ALERT = b'event: test\ndata: {"message":"hello"}\nid: 1735819800000-abc123def\nretry: 2500\n\n'


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client that knows no proxy."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def test_events_are_printed_one_a_line(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each event is a line of its own, without colour where there is no terminal."""
    async with stream_server(EVENT_STREAM + 2 * ALERT) as server:
        await Follower(client, Options(server.url)).connect()

    lines = capsys.readouterr().out.splitlines()

    assert [" test               hello"] * 2 == [line[12:] for line in lines]


async def test_json_is_one_object_a_line(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--json` each event is an object with event, id, retry and data."""
    async with stream_server(EVENT_STREAM + ALERT) as server:
        await Follower(client, Options(server.url, is_json=True)).connect()

    assert json.loads(capsys.readouterr().out) == {
        "event": "test",
        "id": "1735819800000-abc123def",
        "retry": 2500,
        "data": {"message": "hello"},
    }


async def test_the_request_is_that_of_an_event_source(client: httpx.AsyncClient) -> None:
    """It accepts event streams alone, compressed as it can decode them, and sends the cookie."""
    options = Options("", cookie="session=s-1", last_event_id="1-abc")
    async with stream_server(EVENT_STREAM) as server:
        await Follower(client, options._replace(url=server.url)).connect()

    headers = server.requests[0]

    assert headers["accept"] == "text/event-stream"
    assert {"gzip", "zstd"} <= set(headers["accept-encoding"].split(", "))
    assert headers["cookie"] == "session=s-1"
    assert headers["last-event-id"] == "1-abc"


async def test_a_plain_request_names_no_cookie_and_no_event(client: httpx.AsyncClient) -> None:
    """What was not given is not sent."""
    async with stream_server(EVENT_STREAM) as server:
        await Follower(client, Options(server.url)).connect()

    assert {"cookie", "last-event-id"}.isdisjoint(server.requests[0])


async def test_a_compressed_stream_is_decoded_as_it_comes(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """An event is printed once it was flushed, though the stream is not at its end."""
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(ALERT) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = EVENT_STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with stream_server(head + body) as server:
        await Follower(client, Options(server.url)).connect()

    assert capsys.readouterr().out.endswith(" hello\n")


async def test_a_break_is_resumed_with_the_last_event_id(client: httpx.AsyncClient) -> None:
    """The next request names the last ID received; one without an event does not clear it."""
    second = EVENT_STREAM + b"event: keepalive\ndata: {}\n\n"
    async with stream_server(EVENT_STREAM + ALERT, second, EVENT_STREAM) as server:
        follower = Follower(client, Options(server.url))
        for _ in range(3):
            await follower.connect()

    assert [None, "1735819800000-abc123def", "1735819800000-abc123def"] == [
        headers.get("last-event-id") for headers in server.requests
    ]


async def test_an_id_of_any_script_is_sent_back_in_utf_8(client: httpx.AsyncClient) -> None:
    """The ID goes back as the bytes it came in."""
    first = EVENT_STREAM + "data: x\nid: Größe\n\n".encode()
    async with stream_server(first, EVENT_STREAM) as server:
        follower = Follower(client, Options(server.url))
        await follower.connect()
        await follower.connect()

    assert server.requests[1]["last-event-id"] == "Größe"


async def test_an_id_that_no_header_can_carry_is_not_kept(client: httpx.AsyncClient) -> None:
    """A control character in an ID cannot stop the resuming."""
    async with stream_server(EVENT_STREAM + b"data: x\nid: a\x01b\n\n", EVENT_STREAM) as server:
        follower = Follower(client, Options(server.url, last_event_id="1-abc"))
        await follower.connect()
        await follower.connect()

    assert server.requests[1]["last-event-id"] == "1-abc"


async def test_the_end_of_a_stream_is_told_and_retried(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream that ends is followed again after the server's `retry`."""
    async with stream_server(EVENT_STREAM + ALERT) as server:
        seconds = await Follower(client, Options(server.url)).connect()

    assert (2.5, "sseserver tail: the stream ended; next try in 2.5 s\n") == (
        seconds,
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [
        (b"700", 0.7),
        (b"0", 0.1),  # never a flood
        (b"-1", 5.0),
        (b"soon", 5.0),
        (b"9" * 400, 3600.0),  # never for ever, and no float overflows
    ],
)
async def test_the_pause_is_the_servers_within_bounds(
    client: httpx.AsyncClient, retry: bytes, seconds: float
) -> None:
    """A block with `retry` alone sets the pause, and is not printed."""
    async with stream_server(EVENT_STREAM + b"retry: " + retry + b"\n\n") as server:
        assert seconds == await Follower(client, Options(server.url)).connect()


async def test_comments_are_not_printed(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A keepalive between events prints nothing."""
    async with stream_server(EVENT_STREAM + ALERT + b": keepalive\n\n") as server:
        await Follower(client, Options(server.url)).connect()

    assert len(capsys.readouterr().out.splitlines()) == 1


async def test_an_event_cut_off_by_a_break_is_not_printed(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half an event is none; the break is told and the next try follows."""
    head = EVENT_STREAM.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\n")
    async with stream_server(head + ALERT[:-1]) as server:
        follower = Follower(client, Options(server.url))
        seconds = await follower.connect()

    out, err = capsys.readouterr()

    assert (5.0, "") == (seconds, out)
    assert err.startswith("sseserver tail: peer closed connection")
    assert err.endswith("; next try in 5 s\n")


async def test_a_damaged_encoding_is_a_break(client: httpx.AsyncClient) -> None:
    """Bytes that cannot be decoded end the connection, not the program."""
    head = EVENT_STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with stream_server(head + b"not gzip") as server:
        assert await Follower(client, Options(server.url)).connect() == 5.0


async def test_no_server_is_retried(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that is not there yet, or restarts, is waited for."""
    async with stream_server() as server:
        url = server.url

    assert await Follower(client, Options(url)).connect() == 5.0
    assert capsys.readouterr().err == (
        f"sseserver tail: All connection attempts failed ({url}); next try in 5 s\n"
    )


async def test_an_error_without_words_is_named_by_its_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Silence past the timeout is told although the library has no text for it."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        serving(say_nothing) as url,
        httpx.AsyncClient(trust_env=False, timeout=0.05) as client,
    ):
        await Follower(client, Options(url)).connect()

    expected = f"sseserver tail: ReadTimeout ({url}); next try in 5 s\n"

    assert expected == capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (response("204 No Content"), "204 No Content"),
        (
            response("401 Unauthorized", body=b'{"message":"No valid session found"}'),
            "401 Unauthorized: No valid session found",
        ),
        (response("400 Bad Request", body=b"<html>"), "400 Bad Request"),
        (response("403 Forbidden", body=b'{"message":1}'), "403 Forbidden"),
        (response("404 Not Found", body=b'{"message":"\\u001b[2J"}'), "404 Not Found: \\u001b[2J"),
        (response("404 Not Found", body=b" " * 70_000 + b'{"message":"x"}'), "404 Not Found"),
        (
            response("301 Moved Permanently", "Location: https://example.com/"),
            "301 Moved Permanently (it points to https://example.com/)",
        ),
        (
            response("200 OK", "Content-Type: text/html"),
            "Expected response header Content-Type to contain 'text/event-stream', got 'text/html'",
        ),
    ],
)
async def test_a_refusal_for_good_ends_it(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], answer: bytes, text: str
) -> None:
    """What will not pass by itself is told in one line, and nothing is tried again."""
    async with stream_server(answer) as server:
        seconds = await Follower(client, Options(server.url)).connect()

    assert (None, f"sseserver tail: {text}\n") == (seconds, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        ("429 Too Many Requests", ["Retry-After: 12"], 12.0),
        ("503 Service Unavailable", ["Retry-After: 0"], 0.1),
        ("503 Service Unavailable", ["Retry-After: 999999"], 3600.0),
        ("503 Service Unavailable", ["Retry-After: " + "9" * 5000], 5.0),
        ("503 Service Unavailable", ["Retry-After: Fri, 02 Jan 2026 10:30:00 GMT"], 5.0),
        ("503 Service Unavailable", ["Retry-After: \xb2"], 5.0),
        ("502 Bad Gateway", [], 5.0),
    ],
)
async def test_a_refusal_that_passes_is_waited_for(
    client: httpx.AsyncClient,
    capsys: pytest.CaptureFixture[str],
    status: str,
    headers: list[str],
    seconds: float,
) -> None:
    """`Retry-After` says how long, within bounds; else the pause after any break."""
    async with stream_server(response(status, *headers)) as server:
        assert seconds == await Follower(client, Options(server.url)).connect()

    assert capsys.readouterr().err == f"sseserver tail: {status}; next try in {seconds:g} s\n"


async def test_it_runs_until_it_is_refused_for_good(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command reconnects after the pause and ends with exit code 1 when refused."""
    quick = EVENT_STREAM + b"data: x\nid: 1-abc\nretry: 1\n\n"
    async with stream_server(quick, response("401 Unauthorized")) as server:
        code = await asyncio.to_thread(run, Options(server.url, is_json=True))

    out, err = capsys.readouterr()

    assert (1, '{"event":"message","id":"1-abc","retry":1,"data":"x"}\n') == (code, out)
    assert err.endswith("sseserver tail: 401 Unauthorized\n")
    assert server.requests[1]["last-event-id"] == "1-abc"


async def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment, which could not reach our loopback, is left out."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    async with stream_server(response("404 Not Found")) as server:
        await asyncio.to_thread(run, Options(server.url))

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("example.com", False),
    ],
)
def test_loopback_is_told_from_other_hosts(host: str, is_loopback: bool) -> None:
    """Names are not looked up for it."""
    assert is_loopback == tail._is_loopback(host)


async def test_ctrl_c_ends_it_in_silence() -> None:
    """SIGINT: exit code 0, nothing but the events."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM + ALERT)
        await reader.read()

    async with serving(stream) as url:
        process = await start_tail(url, "--json")
        assert process.stdout is not None
        line = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()

    assert json.loads(line)["event"] == "test"
    assert (0, b"", b"") == (process.returncode, out, err)


async def test_a_reader_that_leaves_ends_it_in_silence() -> None:
    """`tail | head -1`: the broken pipe is no error and leaves no traceback."""
    has_left = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM + ALERT)
        await has_left.wait()
        writer.write(ALERT)
        await reader.read()

    async with serving(stream) as url:
        process = await start_tail(url)
        assert process.stdout is not None
        await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # as a shell's pipe does
        has_left.set()
        assert process.stderr is not None
        err = await process.stderr.read()
        await process.wait()

    assert (0, b"") == (process.returncode, err)


async def start_tail(url: str, *options: str) -> asyncio.subprocess.Process:
    """Start the real program on a stream."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sseserver",
        "tail",
        url,
        *options,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("is_terminal", "environ", "colour"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),  # the convention: when present and not empty
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    is_terminal: bool, environ: dict[str, str], colour: bool
) -> None:
    """Pipes, `NO_COLOR` and dumb terminals get plain text."""
    assert colour == wants_colour(is_terminal, environ)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("text", "text"),
        ('{"a":"\u00e9\x7f"}', {"a": "\u00e9\x7f"}),
        ("1e999", "1e999"),  # no JSON writes an infinity
        ("NaN", "NaN"),
        ("[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000),
    ],
)
def test_a_json_line_is_plain_ascii_json(data: str, value: object) -> None:
    """Data is JSON where it is JSON and text where not; no byte could harm a terminal."""
    line = json_line(httpx_sse.ServerSentEvent("message", data, "", None))

    assert {"event": "message", "id": None, "retry": None, "data": value} == json.loads(line)
    assert line.isascii()
    assert line.isprintable()
