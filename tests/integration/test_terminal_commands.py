"""The commands for a terminal, against a real server: check-config, publish and tail.

Contract section 1.
"""

import json
import re
import signal
from pathlib import Path
from typing import Final

from tests.support import daemon, program
from tests.support.cutting_proxy import CuttingProxy
from tests.support.feed_client import FeedClient

ROOT: Final = Path(__file__).parent.parent.parent


REFUSED: Final = re.compile(r"[0-9:.]{12} connection:refused attempt_limit - next try in [0-9.]+ s")


async def publish_alert(feed: FeedClient, number: int) -> str:
    """Publish a numbered fact of `user-1`; return its ID."""
    data = {"alertId": f"a-{number}", "level": "info", "message": f"alert {number}", "n": number}
    return await feed.publish("alert:new", data, userId="user-1")


async def test_the_name_alone_lists_the_commands(tmp_path: Path) -> None:
    """Every command has its line, on standard error; exit code 2."""
    done = await program.run(folder=tmp_path)
    commands = ["serve", "demo", "publish", "tail", "check-config"]
    listed = [line.split()[0] for line in done.err.splitlines() if line.startswith("  ")]

    assert (done.code, done.out, listed[:5]) == (2, "", commands)


async def test_check_config_knows_good_from_bad(tmp_path: Path) -> None:
    """The repository's own file passes; another one's problems are told, exit code 2."""
    (tmp_path / "bad.toml").write_text("[batching]\nwindow_ms = 4\n[bathing]\n")
    good = await program.run("check-config", str(ROOT / "config.toml"), folder=tmp_path)
    bad = await program.run("check-config", "bad.toml", folder=tmp_path)

    assert good == (0, f"{ROOT / 'config.toml'}: no problems\n", "")
    assert (bad.code, bad.out) == (2, "")
    assert {": ".join(line.split(": ")[1:3]) for line in bad.err.splitlines()} == {
        "bathing: a table",
        "batching.window_ms: 4",
    }


async def test_publish_prints_the_answers(tmp_path: Path) -> None:
    """One event by its parts, or lines of standard input; exit code 1 when one was refused."""
    alert = '{"alertId":"a-1","level":"info","message":"m"}'
    lines = '{"op":"ping","ref":"mine"}\nnonsense\n{"op":"ping"}\n'
    async with await daemon.start(tmp_path) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
        ingest = ("publish", "--ingest", server.ingest_path)
        one = await program.run(
            *ingest, "--type", "alert:new", "--user", "user-1", alert, folder=tmp_path
        )
        many = await program.run(*ingest, "-", stdin=lines, folder=tmp_path)
        nothing = await program.run(*ingest, "-", stdin="\n", folder=tmp_path)
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            event = await stream.expect("alert:new")

    answer = json.loads(one.out)
    assert (one.code, one.err, answer) == (0, "", {"ref": 1, "ok": True, "id": event.id})
    said = "sseserver publish: standard input held no line: nothing was published\n"
    assert nothing == (0, "", said)
    assert many.code == 1
    answers = [json.loads(line) for line in many.out.splitlines()]
    assert [(one.get("ref"), one["ok"]) for one in answers] == [
        ("mine", True),
        (None, False),
        (3, True),
    ]


async def test_publish_without_a_server_is_exit_code_1(tmp_path: Path) -> None:
    """One clear line names the socket."""
    done = await program.run("publish", '{"op":"ping"}', folder=tmp_path)

    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert "sseserver.sock" in done.err


async def test_tail_follows_a_stream_through_a_break(tmp_path: Path) -> None:
    """In a pipe, each event is there as it comes; a broken connection resumes without loss."""
    async with (
        await daemon.start(tmp_path, {"stream.retry_ms": 500}) as server,
        CuttingProxy(server.port) as proxy,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        url = f"http://127.0.0.1:{proxy.port}/api/stream/alerts"
        arguments = ("tail", url, "--cookie", "session=s-1", "--json")
        async with program.running(*arguments, folder=tmp_path) as tail:
            lines = await tail.until("connected")
            ids = [await publish_alert(feed, 1)]
            lines += await tail.until(ids[-1])
            proxy.cut()
            ids += [await publish_alert(feed, 2), await publish_alert(feed, 3)]
            lines += await tail.until(ids[-1])
            ids.append(await publish_alert(feed, 4))
            lines += await tail.until(ids[-1])
            done = await tail.stop(signal.SIGINT)

    events = [json.loads(line) for line in lines]
    types = ["connected", "alert:new", "connected", *["alert:new"] * 3]
    assert [event["event"] for event in events] == types
    assert [event["id"] for event in events if event["event"] == "alert:new"] == ids
    assert [event["data"]["n"] for event in events if event["event"] == "alert:new"] == [1, 2, 3, 4]
    assert (done.code, done.out) == (0, "")


async def test_tail_begins_where_it_is_told(tmp_path: Path) -> None:
    """`--last-event-id` resumes as a browser would, and lines are for people without `--json`."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        ids = [await publish_alert(feed, number) for number in range(3)]
        url = f"http://127.0.0.1:{server.port}/api/stream/alerts"
        arguments = ("tail", url, "--cookie", "session=s-1", "--last-event-id", ids[1])
        async with program.running(*arguments, folder=tmp_path) as tail:
            connected = await tail.line()
            event = await tail.line()
            done = await tail.stop(signal.SIGINT)

    assert "connected" in connected
    assert "alert 2" in event
    assert done == (0, "", "")


async def test_tail_says_why_it_is_refused_for_now(tmp_path: Path) -> None:
    """`connection:refused` is a line like any other: the reason, and the wait in seconds."""
    settings = {"limits.attempts_per_minute_per_ip": 1}
    async with await daemon.start(tmp_path, settings) as server:
        url = f"http://127.0.0.1:{server.port}/api/stream/prices"
        async with server.stream("/api/stream/prices") as stream:
            await stream.expect("connected")
        async with program.running("tail", url, folder=tmp_path) as tail:
            line = await tail.line()
            done = await tail.stop(signal.SIGINT)

    assert REFUSED.fullmatch(line), line
    assert done.code == 0


async def test_tail_ends_where_there_is_nothing_to_follow(tmp_path: Path) -> None:
    """Without a session: 401, one line with the server's reason, exit code 1."""
    async with await daemon.start(tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}/api/stream/alerts"
        done = await program.run("tail", url, folder=tmp_path)

    expected = "sseserver tail: 401 Unauthorized: No valid session found\n"
    assert done == (1, "", expected)
