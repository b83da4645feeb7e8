"""Tests of `sseserver.daemon`, run in this process.

What its parts do is tested with them; here is how they are started, ended and reconfigured.
"""

import asyncio
import gc
import os
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from sseserver import daemon
from sseserver.daemon import Listening
from sseserver.errors import StartError
from tests.support.captured_log import captured_log
from tests.support.certificate import make_certificate, needs_openssl
from tests.support.in_process import Ended, Running, configured, serve, undisturbed

leaves_peers_behind = pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")
"""A drain that is cut short leaves open connections to the loop, which closes them with a
warning; as an error it would keep the loop from closing."""


async def nothing(running: Running) -> None:
    """Let the server start and end."""


def start_refusal(folder: Path, settings: dict[str, Any]) -> str:
    """Return why a server does not start."""
    with undisturbed(), captured_log(), pytest.raises(StartError) as refused:
        daemon.serve(configured(folder, settings))
    return str(refused.value)


def kill(number: signal.Signals) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


# ---- the start --------------------------------------------------------------------------


def test_it_says_where_it_listens(tmp_path: Path) -> None:
    """One line names host, port and path once both accept; port 0 becomes a real one."""

    async def connect(running: Running) -> None:
        async with running.feed() as feed:
            await feed.do("ping")
        assert (await running.request("GET", "/healthz"))[0] == 200
        found.append(running.listening)

    found: list[Listening] = []
    ended = serve(tmp_path, connect)
    line = next(line for line in ended.log if line["event"] == "listening")

    assert line == {
        "level": "info",
        "event": "listening",
        "host": "127.0.0.1",
        "port": found[0].port,
        "ingest_path": str(tmp_path / "ingest.sock"),
    }
    assert found[0].port > 0


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """The port of somebody else is refused, and no socket file is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = start_refusal(tmp_path, {"server.port": port})

    assert words.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert words.endswith("Address already in use; try another --port")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_ingest_path_is_one_clear_line(tmp_path: Path) -> None:
    """Another server's socket is not touched."""
    path = tmp_path / "ingest.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        words = start_refusal(tmp_path, {})

    assert words.startswith(f"cannot listen on {path}: another server answers there")
    assert path.exists()


def test_a_certificate_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    """TLS files are read before anything is said to listen."""
    (tmp_path / "cert.pem").write_text("none")
    (tmp_path / "key.pem").write_text("none")
    words = start_refusal(
        tmp_path,
        {
            "server.tls_cert": str(tmp_path / "cert.pem"),
            "server.tls_key": str(tmp_path / "key.pem"),
        },
    )

    assert words.startswith("cannot use the TLS certificate: ")
    assert not (tmp_path / "ingest.sock").exists()


@needs_openssl
def test_it_serves_tls(tmp_path: Path) -> None:
    """With both files set, the HTTP side speaks TLS 1.2 or later."""
    versions: list[str | None] = []

    async def connect(running: Running) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", running.listening.port, ssl=context
        )
        versions.append(writer.get_extra_info("ssl_object").version())
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers.append(await reader.read())
        writer.close()

    answers: list[bytes] = []
    serve(tmp_path, connect, make_certificate(tmp_path).settings)

    assert versions in (["TLSv1.2"], ["TLSv1.3"])
    assert answers[0].startswith(b"HTTP/1.1 200 ")


def test_garbage_is_collected_seldom(tmp_path: Path) -> None:
    """What was there at the start is frozen, and collections are rare from then on."""
    found: list[object] = []

    async def look(running: Running) -> None:
        found.extend([gc.get_threshold(), gc.get_freeze_count() > 1000])

    serve(tmp_path, look)

    assert found == [(50_000, 50, 100), True]


# ---- the end ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT drain; exit code 0, nothing left behind."""
    ended = serve(tmp_path, nothing, ends=number)

    assert ended == Ended(0, ended.log)
    assert ended.events == ["listening", "draining", "stopped"]
    assert list(tmp_path.iterdir()) == []


def test_streams_are_told_and_lines_are_answered(tmp_path: Path) -> None:
    """A drain answers what has been read, sends `server:shutdown`, and waits for both."""
    found: list[Any] = []

    async def main(listening: Listening) -> None:
        running = Running({}, listening, log)
        async with running.feed() as feed:
            await feed.session("k", "user-1")
        streaming.append(
            asyncio.get_running_loop().create_task(follow(running), name="outlives the feed")
        )
        await running.logged("client_connected")
        kill(signal.SIGTERM)

    async def follow(running: Running) -> None:
        async with running.feed() as feed, running.stream("/api/stream/prices") as stream:
            await stream.expect("connected")
            await feed.send_raw(b'{"op":"ping","ref":1}\n')
            found.append((await feed.answer())["ok"])
            found.append([event.type for event in await stream.until_end()])
            found.append(stream.is_ended_properly)

    streaming: list[asyncio.Task[None]] = []
    with undisturbed(), captured_log() as log:
        code = daemon.serve(configured(tmp_path, {}), feed=main)

    assert code == 0
    assert found == [True, ["price:update", "server:shutdown"], True]
    assert "drain_timed_out" not in [line["event"] for line in log.lines]


@leaves_peers_behind
def test_a_drain_has_its_time(tmp_path: Path) -> None:
    """A peer that does not go is left behind after `drain_seconds`; the code is still 0."""
    code, log, seconds = hanging_drain(tmp_path, {"server.drain_seconds": 0.05}, signals=1)

    assert (code, [line["event"] for line in log][-2:]) == (0, ["drain_timed_out", "stopped"])
    assert {key: log[-2][key] for key in ("level", "streams", "http_connections", "feeds")} == {
        "level": "warning",
        "streams": 0,
        "http_connections": 1,
        "feeds": 0,
    }
    assert seconds >= 0.05


@leaves_peers_behind
@pytest.mark.parametrize("signals", [2, 3])
def test_a_second_signal_ends_the_drain_at_once(tmp_path: Path, signals: int) -> None:
    """An operator who asks again does not wait for `drain_seconds`."""
    code, log, seconds = hanging_drain(tmp_path, {"server.drain_seconds": 3600}, signals=signals)

    assert (code, [line["event"] for line in log][-2:]) == (0, ["drain_cut_short", "stopped"])
    assert seconds < 60


async def leave_half_a_request(peer: socket.socket, listening: Listening) -> None:
    """Send what a drain waits for: a request that has begun, and never ends."""
    peer.connect((listening.host, listening.port))
    peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n")
    peer.setblocking(False)
    answer = await asyncio.get_running_loop().sock_recv(peer, 1024)
    assert answer.startswith(b"HTTP/1.1 200 ")


def hanging_drain(
    folder: Path, settings: dict[str, Any], *, signals: int
) -> tuple[int, list[dict[str, Any]], float]:
    """End a server while a request is half-way; return code, log and the drain's duration."""

    async def main(listening: Listening) -> None:
        await leave_half_a_request(peer, listening)
        started.append(time.monotonic())
        kill(signal.SIGTERM)
        asker.append(asyncio.get_running_loop().create_task(ask_again(), name="outlives the feed"))

    async def ask_again() -> None:
        for _ in range(signals - 1):
            while "draining" not in [line["event"] for line in log.lines]:
                await asyncio.sleep(0.001)
            kill(signal.SIGTERM)

    started: list[float] = []
    asker: list[asyncio.Task[None]] = []
    with undisturbed(), captured_log() as log, socket.socket() as peer:
        code = daemon.serve(configured(folder, settings), feed=main)
        return code, log.lines, time.monotonic() - started[0]


@leaves_peers_behind
def test_an_impatient_operator_may_ask_before_the_drain(tmp_path: Path) -> None:
    """A second signal that comes before the drain has begun counts as well."""

    async def main(listening: Listening) -> None:
        await leave_half_a_request(peer, listening)
        try:
            kill(signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            kill(signal.SIGTERM)
            await asyncio.sleep(0.02)

    with undisturbed(), captured_log() as log, socket.socket() as peer:
        code = daemon.serve(configured(tmp_path, {"server.drain_seconds": 3600}), feed=main)

    assert code == 0
    assert [line["event"] for line in log.lines][-2:] == ["drain_cut_short", "stopped"]


def test_a_server_that_took_the_path_meanwhile_keeps_it(tmp_path: Path) -> None:
    """The socket file is removed only while it is our own."""
    path = tmp_path / "ingest.sock"

    async def take_over(running: Running) -> None:
        path.unlink()
        other.bind(str(path))
        other.listen()

    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as feed:
        ended = serve(tmp_path, take_over)

        assert ended.code == 0
        assert feed.connect_ex(str(path)) == 0


@leaves_peers_behind
def test_the_path_is_free_while_it_drains(tmp_path: Path) -> None:
    """A successor can bind the path of a server that drains, and does not lose it again."""
    path = tmp_path / "ingest.sock"

    async def main(listening: Listening) -> None:
        await leave_half_a_request(peer, listening)
        kept.append(asyncio.get_running_loop().create_task(succeed(), name="outlives the feed"))
        kill(signal.SIGTERM)

    async def succeed() -> None:
        while "draining" not in [line["event"] for line in log.lines]:
            await asyncio.sleep(0.001)
        successor.bind(str(path))
        successor.listen()
        kill(signal.SIGTERM)

    kept: list[object] = []
    with (
        socket.socket(socket.AF_UNIX) as successor,
        socket.socket(socket.AF_UNIX) as feed,
        socket.socket() as peer,
        undisturbed(),
        captured_log() as log,
    ):
        code = daemon.serve(configured(tmp_path, {}), feed=main)

        assert (code, feed.connect_ex(str(path))) == (0, 0)


# ---- the feed beside it -----------------------------------------------------------------


def run_beside(folder: Path, main: daemon.FeedMain) -> Ended:
    """Run a server with this coroutine beside it."""
    with undisturbed(), captured_log() as log:
        return Ended(daemon.serve(configured(folder, {}), feed=main), log.lines)


def test_it_goes_on_when_its_feed_has_finished(tmp_path: Path) -> None:
    """A feed that returns is no reason to end."""

    async def main(listening: Listening) -> None:
        asyncio.get_running_loop().call_later(0.02, kill, signal.SIGTERM)

    ended = run_beside(tmp_path, main)

    assert (ended.code, ended.events) == (0, ["listening", "draining", "stopped"])


def test_a_feed_that_fails_ends_it(tmp_path: Path) -> None:
    """The failure is logged with its traceback, the server drains, and the code is 1."""

    async def main(listening: Listening) -> None:
        raise LookupError(listening.host)

    ended = run_beside(tmp_path, main)

    assert (ended.code, ended.events) == (1, ["listening", "feed_failed", "draining", "stopped"])
    assert ended.log[1]["level"] == "error"
    assert ended.log[1]["exception"].endswith("LookupError: 127.0.0.1")
    assert list(tmp_path.iterdir()) == []


def test_a_feed_that_fails_at_the_end_is_told(tmp_path: Path) -> None:
    """A feed that cannot be stopped without an error is logged, and the code is 1."""

    async def main(listening: Listening) -> None:
        kill(signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError

    ended = run_beside(tmp_path, main)

    assert (ended.code, ended.events) == (1, ["listening", "feed_failed", "draining", "stopped"])


# ---- the configuration ------------------------------------------------------------------


def test_without_a_way_to_read_it_again_nothing_is_reloaded(tmp_path: Path) -> None:
    """SIGHUP does not end a server that cannot reload."""

    async def main(listening: Listening) -> None:
        kill(signal.SIGHUP)
        asyncio.get_running_loop().call_later(0.02, kill, signal.SIGTERM)

    ended = run_beside(tmp_path, main)

    assert (ended.code, ended.events) == (0, ["listening", "draining", "stopped"])


def test_a_bad_configuration_is_not_taken(tmp_path: Path) -> None:
    """What cannot be used is refused with every problem, and the server goes on as it was."""

    async def reload(running: Running) -> None:
        line = await running.reload({"stream.retry_ms": 0, "log.level": "loud"})
        found.append(line)
        async with running.stream("/api/stream/prices") as stream:
            found.append((await stream.expect("connected")).retry_ms)

    found: list[Any] = []
    serve(tmp_path, reload)
    line, retry_ms = found

    assert (line["event"], line["level"], retry_ms) == ("reload_refused", "error", 5000)
    assert [problem.split(":")[0] for problem in line["problems"]] == [
        "stream.retry_ms",
        "log.level",
    ]


def test_protected_mode_holds_for_the_address_that_is_bound(tmp_path: Path) -> None:
    """Open trading is not let in by a file that names another, harmless address."""

    async def reload(running: Running) -> None:
        found.append(await running.reload({"server.host": "127.0.0.1", "auth.trading": "open"}))
        found.append((await running.request("GET", "/api/stream/trading?userId=u"))[0])

    found: list[Any] = []
    serve(tmp_path, reload, {"server.host": "0.0.0.0", "auth.trading": "session"})
    line, status = found

    assert (line["event"], status) == ("reload_refused", 401)
    assert [problem.split(":")[0] for problem in line["problems"]] == ["auth.trading"]


def test_it_names_what_needs_a_restart(tmp_path: Path) -> None:
    """Keys that a running server cannot change are logged, each by its path, and kept."""

    async def reload(running: Running) -> None:
        before = running.listening
        lines.append(
            await running.reload(
                {
                    "server.port": 1,
                    "ingest.path": str(tmp_path / "elsewhere.sock"),
                    "limits.max_sessions": 5,
                    "stream.retry_ms": 700,
                }
            )
        )
        lines.append(await running.reload({}))
        assert (await running.request("GET", "/healthz"))[0] == 200
        async with running.feed() as feed:
            await feed.do("ping")
        assert before == running.listening

    lines: list[dict[str, Any]] = []
    serve(tmp_path, reload)

    assert [line["needs_restart"] for line in lines] == [
        ["server.port", "ingest.path", "limits.max_sessions"]
    ] * 2


# ---- time -------------------------------------------------------------------------------


def test_it_drives_timers_windows_and_flushes(tmp_path: Path) -> None:
    """Keepalives come, windows end, and what is published is flushed, corked or not."""

    async def follow(running: Running) -> None:
        async with running.feed() as feed, running.stream("/api/stream/prices") as stream:
            await stream.expect("connected")
            await stream.expect("price:update")
            await stream.until_comment()
            for price in (1, 2, 3):
                await feed.publish("price:update", {"symbol": "A", "price": price})
            prices.append((await stream.expect("price:update")).data["price"])
            prices.append((await stream.expect("price:update")).data["price"])

    prices: list[int] = []
    serve(
        tmp_path,
        follow,
        {
            "stream.keepalive_seconds": 0.05,
            "batching.threshold_per_second": 1,
            "batching.window_ms": 300,
        },
    )

    assert prices[0] == 1
    assert prices[1] in {2, 3}


def test_what_went_past_its_limit_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evictions are told by kind and number, once a minute, and no eviction twice."""
    monkeypatch.setattr(daemon, "_MINUTE", 0.02)

    def told(running: Running, kind: str) -> int:
        lines = [line for line in running.log.of("limit_reached") if line["kind"] == kind]
        assert all(line["level"] == "warning" for line in lines)
        return sum(line["evicted"] for line in lines)

    async def publish(running: Running) -> None:
        async with running.feed() as feed:
            for number in range(4):
                await feed.session(f"k-{number}", "user-1")
            while told(running, "sessions") < 3:
                await asyncio.sleep(0.001)
            for number in range(4):
                await feed.publish("price:update", {"symbol": f"S{number}", "price": 1})
            while told(running, "instruments") < 2:
                await asyncio.sleep(0.001)
        found.extend([told(running, "sessions"), told(running, "instruments")])

    found: list[int] = []
    serve(tmp_path, publish, {"limits.max_sessions": 1, "limits.max_instruments": 2})

    assert found == [3, 2]
