"""What operators rely on: the command line, exit codes, signals, the ingest socket's file.

Contract sections 1 and 2, on the real process.
"""

import asyncio
import json
import os
import signal
import socket
import stat
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import daemon, program
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.stream_client import StreamClient

LISTENING: Final = '"event":"listening"'


async def publish_alert(feed: FeedClient, number: int) -> str:
    """Publish a numbered fact of `user-1`; return its ID."""
    data = {"alertId": f"a-{number}", "level": "info", "message": "m", "n": number}
    return await feed.publish("alert:new", data, userId="user-1")


def reconfigure(folder: Path, **settings: Any) -> None:
    """Change keys (`limits__max_symbols`) in the configuration of a server in this folder."""
    path = folder / "config.toml"
    sections = tomllib.loads(path.read_text())
    merged = {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
    }
    merged |= {key.replace("__", "."): value for key, value in settings.items()}
    path.write_text(daemon.toml_text(merged))


def mode_of(path: str) -> int:
    """Return kind and permissions of a file."""
    return Path(path).stat().st_mode


@asynccontextmanager
async def open_streams(server: Daemon, paths: list[str]) -> AsyncIterator[list[StreamClient]]:
    """Open streams with the session `s-1` and wait for their openings."""
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(server.stream(path, session="s-1")) for path in paths
        ]
        for stream in streams:
            await stream.expect("connected")
        yield streams


# ---- starting ---------------------------------------------------------------------------


async def test_listening_is_logged_once_both_sockets_accept(tmp_path: Path) -> None:
    """It names host, the port that 0 has picked, and the ingest path, whatever the level."""
    async with (
        await daemon.start(tmp_path, {"log.level": "error"}) as server,
        server.feed() as feed,
    ):
        ping = await feed.ask({"op": "ping"})
        health = await server.request("GET", "/healthz")
        line = server.log[0]

    assert {key: line[key] for key in ("event", "host", "port", "ingest_path")} == {
        "event": "listening",
        "host": "127.0.0.1",
        "port": server.port,
        "ingest_path": str(tmp_path / "ingest.sock"),
    }
    assert server.port > 0
    assert (ping["ok"], health[0]) == (True, 200)


async def test_settings_come_from_file_environment_and_flags_in_this_order(tmp_path: Path) -> None:
    """Defaults, then the file, then the environment, then flags."""
    settings = {
        "server.port": 1,
        "ingest.path": "file.sock",
        "log.level": "error",
        "log.format": "json",
    }
    (tmp_path / "c.toml").write_text(daemon.toml_text(settings))
    variables = {"SSESERVER__SERVER__PORT": "2", "SSESERVER__INGEST__PATH": "environment.sock"}
    arguments = ("serve", "--config", "c.toml", "--port", "0")
    async with program.running(*arguments, folder=tmp_path, variables=variables) as server:
        line = json.loads(await server.line())
        done = await server.stop(signal.SIGTERM)

    assert (line["host"], line["ingest_path"]) == ("127.0.0.1", "environment.sock")
    assert line["port"] > 2
    assert done == (0, "", "")  # nothing below the level of the file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_drain_ends_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it in order, and the ingest socket's file goes with it."""
    arguments = ("serve", "--port", "0", "--ingest", "feed.sock")
    async with program.running(*arguments, folder=tmp_path) as server:
        await server.until(LISTENING)
        is_there = (tmp_path / "feed.sock").is_socket()
        done = await server.stop(number)

    assert (is_there, (tmp_path / "feed.sock").exists()) == (True, False)
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["draining", "stopped"]


async def test_a_taken_port_is_exit_code_1(tmp_path: Path) -> None:
    """One clear line, no traceback; the ingest socket is gone again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await program.run("serve", "--port", str(port), folder=tmp_path)

    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert done.err.startswith(f"sseserver: cannot listen on 127.0.0.1:{port}: ")
    assert not (tmp_path / "sseserver.sock").exists()


async def test_an_ingest_path_where_a_server_answers_is_exit_code_1(tmp_path: Path) -> None:
    """The second server says so in one line; the first one keeps its socket and its feeds."""
    async with await daemon.start(tmp_path) as server:
        done = await program.run(
            "serve", "--port", "0", "--ingest", server.ingest_path, folder=tmp_path
        )
        async with server.feed() as feed:
            answer = await feed.ask({"op": "ping"})

    expected = (
        f"sseserver: cannot listen on {server.ingest_path}: "
        "another server answers there; stop it, or use another --ingest\n"
    )
    assert (done.code, done.err) == (1, expected)
    assert answer["ok"]


async def test_a_file_at_the_ingest_path_is_exit_code_1(tmp_path: Path) -> None:
    """What is no socket is never replaced."""
    (tmp_path / "precious").write_text("data")
    done = await program.run("serve", "--port", "0", "--ingest", "precious", folder=tmp_path)

    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert done.err.startswith("sseserver: cannot listen on precious: ")
    assert (tmp_path / "precious").read_text() == "data"


async def test_a_stale_ingest_socket_is_replaced(tmp_path: Path) -> None:
    """A server that was killed leaves its socket behind; the next one starts all the same."""
    async with await daemon.start(tmp_path) as killed:
        killed.signal(signal.SIGKILL)
        await killed.process.wait()
        is_left = stat.S_ISSOCK(mode_of(killed.ingest_path))
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        answer = await feed.ask({"op": "ping"})

    assert (is_left, answer["ok"]) == (True, True)


async def test_bad_configuration_is_exit_code_2_with_every_problem(tmp_path: Path) -> None:
    """Unknown key, wrong type and value out of range: a line each, with path and value."""
    settings = {
        "server.port": 65536,
        "server.colour": "red",
        "limits.connections_per_user": "many",
    }
    (tmp_path / "c.toml").write_text(daemon.toml_text(settings))
    variables = {"SSESERVER__STREAM__RETRY_MS": "0"}
    done = await program.run("serve", "--config", "c.toml", folder=tmp_path, variables=variables)

    lines = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert sorted(line.split(": ")[:3] for line in lines) == [
        ["sseserver", "limits.connections_per_user", "'many'"],
        ["sseserver", "server.colour", "'red'"],
        ["sseserver", "server.port", "65536"],
        ["sseserver", "stream.retry_ms", "0 (SSESERVER__STREAM__RETRY_MS)"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[server]\nhost = "0.0.0.0"\n',
        '[server]\nhost = "::"\n',
        '[server]\ntrusted_proxies = ["10.0.0.0/8"]\n',
    ],
)
async def test_protected_mode_refuses_open_trading_with_exit_code_2(
    tmp_path: Path, text: str
) -> None:
    """Where others can reach it, in the open or through a proxy, `serve` does not start."""
    (tmp_path / "c.toml").write_text(f"{text}port = 0\n")
    done = await program.run("serve", "--config", "c.toml", folder=tmp_path)

    assert (done.code, done.out) == (2, "")
    assert "auth.trading" in done.err


async def test_trading_with_a_session_starts_anywhere(tmp_path: Path) -> None:
    """What protected mode asks for is enough for it."""
    variables = {"SSESERVER__AUTH__TRADING": "session"}
    arguments = ("serve", "--host", "0.0.0.0", "--port", "0")
    async with program.running(*arguments, folder=tmp_path, variables=variables) as server:
        line = json.loads((await server.until(LISTENING))[-1])
        done = await server.stop(signal.SIGTERM)

    assert (line["host"], done.code) == ("0.0.0.0", 0)


# ---- ending -----------------------------------------------------------------------------


async def test_sigterm_ends_every_stream_properly(tmp_path: Path) -> None:
    """All are told `server:shutdown` with a retry spread over 1 to 10 s, then the last chunk."""
    paths = [f"/api/stream/{name}" for name in ("orders", "positions", "prices", "alerts")] * 4
    async with await daemon.start(tmp_path, {"limits.connections_per_user": 20}) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
        headers = [{"Accept-Encoding": coding} for coding in ("identity", "gzip", "zstd")]
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(
                    server.stream(path, session="s-1", headers=headers[place % 3])
                )
                for place, path in enumerate(paths)
            ]
            server.signal(signal.SIGTERM)
            farewells = [(await stream.until_end())[-1] for stream in streams]
        code = await server.stop()

    assert {farewell.type for farewell in farewells} == {"server:shutdown"}
    assert all(stream.is_ended_properly for stream in streams)
    retries = [farewell.retry_ms for farewell in farewells]
    assert all(retry is not None and 1000 <= retry <= 10_000 for retry in retries)
    assert len(set(retries)) > len(retries) // 2
    assert code == 0


async def test_a_draining_server_says_so_until_its_streams_have_gone(tmp_path: Path) -> None:
    """Health is told to whoever connects, streams are refused; then the port is closed."""
    path = "/api/stream/prices"
    async with await daemon.start(tmp_path, {"server.drain_seconds": 20}) as server:
        async with server.stream(path) as stream:
            await stream.expect("connected")
            server.signal(signal.SIGTERM)
            await stream.until("server:shutdown")
            alive = await server.request("GET", "/healthz")
            ready = await server.request("GET", "/readyz")
            refused = await server.request("GET", path)
            async with server.stream(path) as late:
                told = await late.until_end()
        code = await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)

    assert (200, 503, 503, 0) == (alive[0], ready[0], refused[0], code)
    assert "retry-after" in ready[1]
    assert ["connection:refused"] == [event.type for event in told]
    assert "draining" == told[0].data["reason"]


async def test_what_a_feed_has_written_is_answered_and_delivered_before_the_end(
    tmp_path: Path,
) -> None:
    """Ingest stops first: a fact that was read is answered and reaches its streams."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            data = {"alertId": "a", "level": "info", "message": "m"}
            message = {"type": "alert:new", "userId": "user-1", "data": data}
            lines = "".join(json.dumps({**message, "ref": ref}) + "\n" for ref in range(200))
            await feed.send_raw(lines.encode())
            first = await feed.answer()
            server.signal(signal.SIGTERM)
            answers = [first]
            while len(answers) < 200:
                answers.append(await feed.answer())
            events = await stream.until_end()

    assert [answer["ref"] for answer in answers] == list(range(200))
    assert [event.id for event in events[:-1]] == [answer["id"] for answer in answers]
    assert events[-1].type == "server:shutdown"


async def test_a_drain_that_runs_out_of_time_says_so(tmp_path: Path) -> None:
    """A client that does not close its side is left behind; the exit code is 0 nevertheless."""
    settings = {"server.drain_seconds": 0.2}
    async with await daemon.start(tmp_path, settings) as server:
        async with server.stream("/api/stream/prices") as stream:
            await stream.expect("connected")
            code = await server.stop()
        line = await server.logged("drain_timed_out")

    assert (code, line["level"], line["streams"]) == (0, "warning", 1)


# ---- SIGHUP -----------------------------------------------------------------------------


async def test_sighup_changes_what_can_change(tmp_path: Path) -> None:
    """Limits, keepalive and log level apply to what is open; the rest is named in the log."""
    settings = {"log.level": "info"}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with open_streams(server, ["/api/stream/alerts"] * 2) as (first, second):
            await publish_alert(feed, 1)
            reconfigure(
                tmp_path,
                limits__connections_per_user=2,
                stream__keepalive_seconds=0.1,
                log__level="debug",
                ingest__mode="0600",
                server__port=1,
            )
            server.signal(signal.SIGHUP)
            reloaded = await server.logged("reloaded")
            event_id = await publish_alert(feed, 2)
            published = await server.logged("event_published")
            await second.until_comment(2)
            async with open_streams(server, ["/api/stream/alerts"]):
                farewell = (await first.until_end())[-1]
        port = (await server.request("GET", "/healthz"))[0]

    assert sorted(reloaded["needs_restart"]) == ["ingest.mode", "server.port"]
    assert published["event_id"] == event_id  # and not the one before
    assert (farewell.type, farewell.data["limit"]) == ("connection:limit", 2)
    assert port == 200


async def test_a_bad_file_on_sighup_changes_nothing(tmp_path: Path) -> None:
    """Its problems are logged; even what is right in it is not taken."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with open_streams(server, ["/api/stream/alerts"] * 2) as (first, second):
            reconfigure(tmp_path, limits__connections_per_user=2, stream__retry_ms=499)
            server.signal(signal.SIGHUP)
            refused = await server.logged("reload_refused")
            async with open_streams(server, ["/api/stream/alerts"]) as (third,):
                event_id = await publish_alert(feed, 1)
                received = [await one.expect("alert:new") for one in (first, second, third)]

    assert refused["level"] == "error"
    assert [problem.split(": ")[:2] for problem in refused["problems"]] == [
        ["stream.retry_ms", "499"]
    ]
    assert {(event.id, event.retry_ms) for event in received} == {(event_id, 5000)}


# ---- the ingest socket ------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "mode"), [({}, 0o660), ({"ingest.mode": "0600"}, 0o600)])
async def test_the_ingest_socket_has_its_mode(
    tmp_path: Path, settings: dict[str, Any], mode: int
) -> None:
    """`ingest.mode` says who may connect."""
    async with await daemon.start(tmp_path, settings) as server:
        found = stat.S_IMODE(mode_of(server.ingest_path))

    assert found == mode


async def test_a_user_who_is_not_listed_is_answered_and_closed(tmp_path: Path) -> None:
    """With `allowed_uids`, credentials of the peer decide; SIGHUP lets this one in."""
    settings = {"ingest.allowed_uids": [os.getuid() + 1]}
    async with await daemon.start(tmp_path, settings) as server:
        async with server.feed() as stranger:
            answer = await stranger.answer()
            with pytest.raises(AssertionError, match="closed"):
                await stranger.answer()
        reconfigure(tmp_path, ingest__allowed_uids=[os.getuid()])
        server.signal(signal.SIGHUP)
        await server.logged("reloaded")
        async with server.feed() as feed:
            ping = await feed.ask({"op": "ping"})

    assert (answer["ok"], answer["error"]["code"]) == (False, "not_allowed")
    assert "ref" not in answer
    assert ping["ok"]
