"""Lines of the ingest port on the real process: answers, error codes, and what bad lines do not.

Source: contract section 3.
"""

import json
from pathlib import Path
from typing import Any

from tests.support import daemon
from tests.support.daemon import Daemon

MAX_LINE_BYTES = 1024

ORDER = {"orderId": "o-1", "symbol": "AAPL", "side": "buy", "qty": 10, "status": "new"}
HELD = {"symbol": "AAPL", "quantity": "10", "entryPrice": "150.00"}
ALERT = {"alertId": "a-1", "level": "info", "message": "m"}

BAD_LINES: list[tuple[bytes, dict[str, Any], str | None]] = [
    # the line, what is answered without `message`, the beginning of the message
    (b"{", {"code": "invalid_json"}, None),
    (b'{"op":"ping","ref":1', {"code": "invalid_json"}, None),
    (b'{"op":"ping","ref":1}}', {"code": "invalid_json"}, None),
    (b'{"op":"ping"} {"op":"ping"}', {"code": "invalid_json"}, None),
    (b"\xff\xfe", {"code": "invalid_json"}, None),
    (b'{"op":"ping","ref":"\xc3\x28"}', {"code": "invalid_json"}, None),
    (b'{"op":"ping","ref":"\xed\xa0\x80"}', {"code": "invalid_json"}, None),
    (b"\xef\xbb\xbf" + b'{"op":"ping","ref":1}', {"code": "invalid_json"}, None),
    (b"{'op':'ping'}", {"code": "invalid_json"}, None),
    (b'{"op":"ping","ref":NaN}', {"code": "invalid_json"}, None),
    (b"\0", {"code": "invalid_json"}, None),
    (b"[]", {"code": "invalid_message", "path": "$"}, "Expected `object`, got `array`"),
    (b'"ping"', {"code": "invalid_message", "path": "$"}, "Expected `object`, got `str`"),
    (b"null", {"code": "invalid_message", "path": "$"}, "Expected `object`, got `null`"),
    (b'{"op":"ping","ref":[]}', {"code": "invalid_message", "path": "$.ref"}, None),
    (b'{"op":"ping","ref":1.5}', {"code": "invalid_message", "path": "$.ref"}, None),
    (b'{"op":7,"ref":1}', {"ref": 1, "code": "invalid_message", "path": "$.op"}, None),
    (b'{"op":"dance","ref":2}', {"ref": 2, "code": "unknown_op", "path": "$.op"}, None),
    (b'{"op":"","ref":"r"}', {"ref": "r", "code": "unknown_op", "path": "$.op"}, None),
    (b'{"ref":3}', {"ref": 3, "code": "invalid_message", "path": "$.type"}, None),
    (b'{"ref":4,"type":"x"}', {"ref": 4, "code": "unknown_type", "path": "$.type"}, None),
    (
        b'{"ref":5,"op":"publish","type":"test","data":{}}',
        {"ref": 5, "code": "unknown_type", "path": "$.type"},
        None,
    ),
    (
        b'{"ref":2,"type":"price:update","data":{"symbol":"AAPL","price":[]}}',
        {"ref": 2, "code": "invalid_message", "path": "$.data.price"},
        "Expected `number | str`, got `array`",
    ),
    (
        b'{"type":"price:update","data":{"symbol":"AAPL"}}',
        {"code": "invalid_message", "path": "$.data.price"},
        "Object missing required field `price`",
    ),
    (
        (
            b'{"ref":6,"type":"position:update","userId":"user-1","data":'
            b'{"symbol":"TSLA","quantity":1}}'
        ),
        {"ref": 6, "code": "invalid_message", "path": "$.data.entryPrice"},
        None,
    ),
    (
        (
            b'{"ref":7,"type":"strategy:update","userId":"user-2","data":'
            b'{"strategyId":"s-1","signalType":"entry"}}'
        ),
        {"ref": 7, "code": "not_allowed", "path": "$.userId"},
        None,
    ),
    (
        b'{"ref":8,"op":"orders.put","userId":"user-1","orders":[{"orderId":"o-2"}]}',
        {"ref": 8, "code": "invalid_message", "path": "$.orders[0].symbol"},
        None,
    ),
    (
        (
            b'{"ref":9,"op":"positions.put","userId":"user-1","positions":'
            b'[{"symbol":"A","quantity":1,"entryPrice":1},{"symbol":"B","quantity":0,"entryPrice":1}]}'
        ),
        {"ref": 9, "code": "invalid_message", "path": "$.positions[1].quantity"},
        None,
    ),
    (
        b'{"ref":10,"op":"session.put","sessionId":"k","userId":"user-2","expiresAt":"soon"}',
        {"ref": 10, "code": "invalid_message", "path": "$.expiresAt"},
        None,
    ),
    (
        b'{"ref":11,"op":"session.put","sessionId":"k","userId":"user-2","role":"root"}',
        {"ref": 11, "code": "invalid_message", "path": "$.role"},
        None,
    ),
    (
        b'{"ref":12,"op":"session.delete"}',
        {"ref": 12, "code": "invalid_message", "path": "$.sessionId"},
        None,
    ),
    (
        b'{"ref":13,"op":"strategy.put","strategyId":"s-1"}',
        {"ref": 13, "code": "invalid_message", "path": "$.userId"},
        None,
    ),
    (b'{"ref":14,"x":"' + b"x" * MAX_LINE_BYTES + b'"}', {"code": "too_large"}, "A line may have"),
    (
        b'{"ref":15,"type":"alert:new","userId":"user-1","data":{"alertId":"a","level":"info",'
        b'"message":"m","x":' + b"[" * 201 + b"]" * 201 + b"}}",
        {"ref": 15, "code": "invalid_message", "path": "$.data"},
        "Expected objects and lists within",
    ),
]


def summary(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an error answer without its words."""
    assert answer["ok"] is False
    error = dict(answer["error"])
    assert isinstance(error.pop("message"), str)
    return {name: answer[name] for name in answer.keys() & {"ref"}} | error


async def state(server: Daemon) -> list[Any]:
    """Return what the streams of two users open with, times and IDs aside."""
    found: list[Any] = []
    for path, session in (
        ("trading?userId=user-1", "k"),
        ("alerts", "k"),
        ("strategies/s-1", "k"),
        ("trading?userId=user-2", None),
        ("prices", None),
    ):
        async with server.stream(f"/api/stream/{path}", session=session) as stream:
            events = [await stream.expect("connected")]
            assert stream.status == 200
            snapshots = {"trading": 2, "prices": 1}.get(path.partition("?")[0], 0)
            count = snapshots + events[0].data["replay"]
            events += [await stream.next() for _ in range(count)]
        for event in events:
            event.data.pop("timestamp")
            for name in ("clientId", "correlationId"):
                event.data.pop(name, None)
        found.append([(event.type, event.data) for event in events])
    return found


async def prepare(server: Daemon) -> None:
    """Give user-1 a session, a strategy, an order, a position and an alert."""
    async with server.feed() as feed:
        await feed.session("k", "user-1")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        await feed.do("orders.put", userId="user-1", orders=[ORDER])
        await feed.do("positions.put", userId="user-1", positions=[HELD])
        await feed.publish("alert:new", ALERT, userId="user-1")
        await feed.publish("price:update", {"symbol": "AAPL", "price": 152.5})


async def test_every_error_has_its_code_path_and_reference(tmp_path: Path) -> None:
    """A bad line is answered in its place, also without `ref`, and the next one is fine."""
    settings = {"ingest.max_line_bytes": MAX_LINE_BYTES}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await prepare(server)
        answers = []
        for line, _, _ in BAD_LINES:
            await feed.send_raw(line + b"\n")
            answers.append(await feed.answer())
            await feed.do("ping")

    assert [summary(answer) for answer in answers] == [expected for _, expected, _ in BAD_LINES]
    for answer, (_, _, words) in zip(answers, BAD_LINES, strict=True):
        assert answer["error"]["message"].startswith(words or "")


async def test_bad_lines_harm_nobody(tmp_path: Path) -> None:
    """Between good lines, in one write, they change no state, end nothing, and good ones count."""
    settings = {"ingest.max_line_bytes": MAX_LINE_BYTES}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await prepare(server)
        before = await state(server)
        async with server.stream("/api/stream/alerts?replay=0", session="k") as stream:
            await stream.expect("connected")
            data = b"".join(
                line + b"\n" + json.dumps({"op": "ping", "ref": f"good-{number}"}).encode() + b"\n"
                for number, (line, _, _) in enumerate(BAD_LINES)
            )
            await feed.send_raw(data)
            answers = [await feed.answer() for _ in range(2 * len(BAD_LINES))]
            after = await state(server)
            live = await feed.publish("alert:new", ALERT, userId="user-1")
            first_seen = await stream.expect("alert:new")
        lines = [line["event"] for line in server.log if line["level"] in {"warning", "error"}]

    assert before == after
    assert [answer["ok"] for answer in answers] == [False, True] * len(BAD_LINES)
    assert [answer["ref"] for answer in answers[1::2]] == [
        f"good-{number}" for number in range(len(BAD_LINES))
    ]
    assert first_seen.id == live
    assert lines == []


async def test_answers_come_in_order_and_only_where_asked_for(tmp_path: Path) -> None:
    """Lines with `ref` are answered one by one in order; without it only errors are."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        message = {"type": "alert:new", "userId": "user-1", "data": ALERT}
        lines = [
            {**message, "ref": 1},
            message,
            {**message, "ref": "two"},
            {"op": "no"},
            {"op": "ping"},
            {"op": "ping", "ref": 3},
            {"op": "no", "ref": 4},
            {**message, "ref": 5, "op": "publish"},
        ]
        await feed.send_raw("".join(json.dumps(line) + "\n" for line in lines).encode())
        answers = [await feed.answer() for _ in range(6)]
        _, _, body = await server.request("GET", "/api/stream/metrics")

    assert [(answer.get("ref"), answer["ok"]) for answer in answers] == [
        (1, True),
        ("two", True),
        (None, False),
        (3, True),
        (4, False),
        (5, True),
    ]
    assert ["id" in answer for answer in answers] == [True, True, False, False, False, True]
    assert answers[3] == {"ref": 3, "ok": True}
    assert json.loads(body)["delivery"]["publishedEvents"] == 4


async def test_the_form_of_lines_is_taken_generously(tmp_path: Path) -> None:
    """CR LF, blank lines, white space, escapes, big references and any UTF-8 are fine."""
    lines = [
        b'{"op":"ping","ref":1}\r\n',
        b"\n\r\n",
        b' \t{ "op" : "ping" , "ref" : 2 } \n',
        b'{"\\u006fp":"ping","ref":3}\n',
        b'{"op":"ping","ref":9223372036854775807}\n',
        b'{"op":"ping","ref":-9223372036854775808}\n',
        '{"op":"ping","ref":"é\u2028\U0001f600"}\n'.encode(),
        b'{"op":"ping","ref":"first","ref":"last"}\n',
        b'{"op":"ping","ref":4,"what":{"ever":[1,null]}}\n',
        b'{"op":null,"ref":5,"type":"price:update","data":{"symbol":"A","price":1},"x":1}\n',
        b'{"op":"ping","ref":null}\n{"op":"ping","ref":6}\n',
    ]
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.send_raw(b"".join(lines))
        answers = [await feed.answer() for _ in range(10)]

    assert [answer["ok"] for answer in answers] == [True] * 10
    assert [answer["ref"] for answer in answers] == [
        1, 2, 3, 9223372036854775807, -9223372036854775808, "é\u2028\U0001f600", "last", 4, 5, 6,
    ]  # fmt: skip


async def test_a_line_that_is_too_long_is_skipped_to_its_newline(tmp_path: Path) -> None:
    """It is answered once, in its place, whether it comes at once or in pieces; no byte is kept."""
    settings = {"ingest.max_line_bytes": 1024}
    padding = 1024 - len('{"op":"ping","ref":1,"x":""}')
    longest = b'{"op":"ping","ref":1,"x":"%b"}\n' % (b"x" * padding)
    too_long = b'{"op":"ping","ref":1,"x":"%b"}\n' % (b"x" * (padding + 1))
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.send_raw(longest + too_long + b'{"op":"ping","ref":2}\n')
        whole = [await feed.answer() for _ in range(3)]
        for _ in range(100):
            await feed.send_raw(b"y" * 10_000)
        await feed.send_raw(b'\n{"op":"ping","ref":3}\n')
        pieces = [await feed.answer() for _ in range(2)]

    assert [answer.get("ref", answer.get("error", {}).get("code")) for answer in whole] == [
        1,
        "too_large",
        2,
    ]
    assert pieces == [
        {
            "ok": False,
            "error": {"code": "too_large", "message": "A line may have 1024 bytes at most"},
        },
        {"ref": 3, "ok": True},
    ]


async def test_twenty_thousand_lines_are_pipelined(tmp_path: Path) -> None:
    """A feed may write without waiting: every line is answered, in order, with a rising ID."""
    count = 20_000
    lines = b"".join(
        b'{"ref":%d,"type":"alert:new","userId":"user-%d","data":'
        b'{"alertId":"a-%d","level":"info","message":"m"}}\n' % (number, number % 50, number)
        for number in range(count)
    )
    async with await daemon.start(tmp_path, {"log.level": "info"}) as server, server.feed() as feed:
        await feed.session("k", "user-49")
        await feed.send_raw(lines)
        answers = [await feed.answer() for _ in range(count)]
        async with server.stream("/api/stream/alerts", session="k") as stream:
            replay = (await stream.expect("connected")).data["replay"]
            kept = [(await stream.next()).id for _ in range(replay)]

    assert [answer["ref"] for answer in answers] == list(range(count))
    ids = [(int(first), second) for first, _, second in (a["id"].partition("-") for a in answers)]
    assert ids == sorted(set(ids))
    assert kept == [answer["id"] for answer in answers[49::50]][-100:]
