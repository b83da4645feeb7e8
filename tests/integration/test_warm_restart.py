"""What a restart leaves standing, on the real process (contract section 7)."""

import asyncio
import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import daemon, program
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.stream_client import StreamClient

ORDERS: Final = "/api/stream/orders"


def settings(folder: Path, **others: Any) -> dict[str, Any]:
    """Return settings with a state file, saved seldom unless a test says otherwise."""
    return {"state.path": str(folder / "state"), "state.save_seconds": 3600, **others}


async def publish_orders(feed: FeedClient, numbers: range) -> list[str]:
    """Publish numbered changes of one order of user-1; return their IDs."""
    order = {"orderId": "o-1", "symbol": "A", "side": "buy", "qty": 1, "status": "new"}
    answers = await feed.publish_many(
        [
            {"type": "order:update", "userId": "user-1", "data": order | {"n": number}}
            for number in numbers
        ]
    )
    return [answer["id"] for answer in answers]


async def opening(server: Daemon, last_event_id: str) -> list[Any]:
    """Return what a stream of user-1's orders says before its snapshot."""
    told: list[Any] = []
    async with server.stream(ORDERS, session="s-1", last_event_id=last_event_id) as stream:
        while "snapshot" not in (event := await stream.next()).data:
            told.append(event.data.get("n", event.data.get("reason", event.type)))
    return told


async def begin(server: Daemon, count: int) -> list[str]:
    """Let user-1 in and publish so many orders; return their IDs."""
    async with server.feed() as feed:
        await feed.session("s-1", "user-1")
        return await publish_orders(feed, range(count))


async def kill(server: Daemon) -> None:
    """End the process as a crash would."""
    server.signal(signal.SIGKILL)
    await server.process.wait()


async def test_a_client_goes_on_after_a_drain_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """It is told to come back, comes back, and is sent what it lacks: no gap, nothing twice."""
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        ids = await begin(server, 3)
        async with server.stream(ORDERS, session="s-1", last_event_id=ids[0]) as stream:
            seen = [(await stream.next()).data.get("n") for _ in range(4)]
            server.signal(signal.SIGTERM)
            farewell = await stream.expect("server:shutdown")
        assert 0 == await server.stop()
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        told = await opening(server, farewell.id)
        all_told = await opening(server, ids[0])

    assert ([None, 1, 2, None], ["connected"]) == (seen, told)
    assert ["connected", 1, 2] == all_told


async def test_after_a_crash_the_gap_is_told(tmp_path: Path) -> None:
    """What came after the last save is gone; what is left follows."""
    often = settings(tmp_path, **{"state.save_seconds": 0.05})
    async with await daemon.start(tmp_path, often) as server:
        ids = await begin(server, 3)
        saves = [await server.logged("state_saved")]
        server.log.clear()
        saves.append(await server.logged("state_saved"))  # this one began after the last order
        await kill(server)
    async with await daemon.start(tmp_path, often) as server:
        assert ["connected", "restarted", 1, 2] == await opening(server, ids[0])


async def test_a_crash_after_a_drain_is_still_a_crash(tmp_path: Path) -> None:
    """A file that a drain wrote is complete only until the next server has begun."""
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        ids = await begin(server, 2)
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        async with server.feed() as feed:
            await publish_orders(feed, range(2, 3))  # acknowledged, and never saved
        await kill(server)
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        assert ["connected", "restarted", 1] == await opening(server, ids[0])


async def test_a_retry_across_a_restart_is_not_delivered_again(tmp_path: Path) -> None:
    """A feed that lost its connection with the restart sends its last line again."""
    alert = {
        "type": "alert:new",
        "userId": "user-1",
        "data": {"alertId": "a", "level": "info", "message": "m"},
        "key": "k-1",
    }
    answers = []
    for _ in range(2):
        async with (
            await daemon.start(tmp_path, settings(tmp_path)) as server,
            server.feed() as feed,
        ):
            answers.append(await feed.ask(alert))

    assert answers[0]["id"] == answers[1]["id"]


async def test_every_line_that_was_answered_before_the_end_is_in_the_file(tmp_path: Path) -> None:
    """SIGTERM amid a pipeline: what is answered with `ok` resumes after the restart."""
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        [first] = await begin(server, 1)
        feed = await FeedClient.connect(server.ingest_path)
        order = {"orderId": "o-1", "symbol": "A", "side": "buy", "qty": 1, "status": "new"}
        message = {"type": "order:update", "userId": "user-1"}
        lines = [
            json.dumps({"ref": n, **message, "data": order | {"n": n}}) + "\n" for n in range(1, 90)
        ]
        await feed.send_raw("".join(lines).encode())
        answered = [(await feed.answer())["ref"]]
        server.signal(signal.SIGTERM)
        try:
            while True:
                answered.append((await feed.answer())["ref"])
        except (AssertionError, ConnectionError):  # it has closed the connection
            pass
        await feed.close()
        assert 0 == await server.stop()
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        assert ["connected", *answered] == await opening(server, first)


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """It holds what clients are sent."""
    before = os.umask(0)
    try:
        async with await daemon.start(tmp_path, settings(tmp_path)) as server:
            await begin(server, 1)
    finally:
        os.umask(before)

    assert 0o600 == stat.S_IMODE((tmp_path / "state").stat().st_mode)


@pytest.mark.parametrize("content", [b"", b"sseserver state\nD", b"\0" * 100_000])
async def test_a_damaged_file_is_told_set_aside_and_not_fatal(
    tmp_path: Path, content: bytes
) -> None:
    """People look at it later; the server serves now."""
    (tmp_path / "state").write_bytes(content)
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        await begin(server, 1)
        status, _, _ = await server.request("GET", "/readyz")

    assert 200 == status
    assert content == (tmp_path / "state.damaged").read_bytes()


async def test_where_nothing_can_be_written_it_does_not_start(tmp_path: Path) -> None:
    """One clear line, and exit code 1: an operator asked for what cannot be had."""
    path = tmp_path / "missing" / "state"
    variables = {"SSESERVER__STATE__PATH": str(path), "SSESERVER__SERVER__PORT": "0"}
    done = await program.run("serve", folder=tmp_path, variables=variables)

    assert 1 == done.code
    assert f"cannot write {path}.lock: No such file or directory" in done.err
    assert 1 == len(done.err.splitlines())


async def test_a_full_disk_is_told_and_costs_nobody_an_event(tmp_path: Path) -> None:
    """Until there is room again the older file stands; the limit of file sizes is the disk."""
    often = settings(tmp_path, **{"state.save_seconds": 0.05})
    async with (
        await daemon.start(tmp_path, often) as server,
        server.stream("/api/stream/prices") as stream,
        server.feed() as feed,
    ):
        await stream.expect("connected")
        await server.logged("state_saved")
        await limit_files(server, 100)
        failed = await server.logged("state_save_failed")
        await feed.publish("price:update", {"symbol": "A", "price": 1})
        price = await until_symbol(stream)
        await limit_files(server, "unlimited")
        server.log.clear()
        await server.logged("state_saved")

    assert "File too large" == failed["error"]
    assert 1 == price


async def limit_files(server: Daemon, size: int | str) -> None:
    """Let the process write no file past a size in bytes."""
    process = await asyncio.create_subprocess_exec(
        "prlimit", f"--pid={server.process.pid}", f"--fsize={size}:unlimited"
    )
    assert 0 == await process.wait()


async def until_symbol(stream: StreamClient) -> Any:
    """Return the price in the first event of one symbol."""
    while "symbol" not in (event := await stream.next()).data:
        pass
    return event.data["price"]


async def test_two_servers_never_use_one_file(tmp_path: Path) -> None:
    """The second ends with one line, and takes nothing of the first one's away."""
    (tmp_path / "other").mkdir()
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        ids = await begin(server, 2)
        variables = {
            "SSESERVER__STATE__PATH": str(tmp_path / "state"),
            "SSESERVER__SERVER__PORT": "0",
        }
        second = await program.run("serve", folder=tmp_path / "other", variables=variables)
    async with await daemon.start(tmp_path, settings(tmp_path)) as server:
        told = await opening(server, ids[0])

    assert 1 == second.code
    assert "another server uses it" in second.err
    assert ["connected", 1] == told


# ---- a socket that is handed over -------------------------------------------------------


async def test_with_a_socket_that_is_handed_over_a_restart_refuses_no_connection(
    tmp_path: Path,
) -> None:
    """Who connects while no server runs is answered by the next one (sd_listen_fds(3))."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        async with await daemon.start(tmp_path, settings(tmp_path), listener=listener) as server:
            ids = await begin(server, 3)
            assert port == server.port
            assert 0 == await server.stop()
        waiting = asyncio.create_task(
            StreamClient.connect(port, ORDERS, session="s-1", last_event_id=ids[0])
        )
        async with await daemon.start(tmp_path, settings(tmp_path), listener=listener):
            stream = await waiting
            told = [(await stream.next()).data.get("n") for _ in range(3)]
            await stream.close()

    assert [None, 1, 2] == told


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_socket_of_another_kind_is_refused(tmp_path: Path, kind: socket.SocketKind) -> None:
    """One that does not listen, and one that cannot."""
    with socket.socket(socket.AF_INET, kind) as wrong:
        wrong.bind(("127.0.0.1", 0))
        with pytest.raises(AssertionError, match="ended before it listened"):
            await daemon.start(tmp_path, listener=wrong)


async def test_protected_mode_looks_at_the_address_that_is_handed_over(tmp_path: Path) -> None:
    """Whatever `server.host` says: open trading is not served where others reach it."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        with pytest.raises(AssertionError, match="ended before it listened"):
            await daemon.start(tmp_path, listener=everywhere)
        by_session = {"auth.trading": "session"}
        async with await daemon.start(tmp_path, by_session, listener=everywhere) as server:
            status, _, _ = await server.request("GET", "/readyz")

    assert 200 == status
