"""Tests for `sseserver.client.publish`, against a real Unix socket."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from sseserver.client import publish
from sseserver.client.publish import MAX_UNANSWERED_LINES, add_reference, run, wrap
from tests.unit.client.fake_ingest_port import accepted, answering, serving


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no server unless a test says so."""
    monkeypatch.setattr(publish, "START_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the fake ingest port listens."""
    return tmp_path / "feed.sock"


GiveStdin = Callable[[bytes], None]


@pytest.fixture
def give_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GiveStdin]:
    """Return a function that makes bytes standard input, as a shell's `<` does."""
    with ExitStack() as stack:

        def give(data: bytes) -> None:
            file = tmp_path / "stdin"
            file.write_bytes(data)
            monkeypatch.setattr("sys.stdin", stack.enter_context(file.open()))

        yield give


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"op":"ping"}', b'{"op":"ping","ref":7}'),
        (b'{"ref":null,"op":"ping"}', b'{"ref":7,"op":"ping"}'),
        (b'{"ref":"mine","op":"ping"}', b'{"ref":"mine","op":"ping"}'),
        (b'{"data":{"price":1.10, "qty":1e2}}', b'{"data":{"price":1.10, "qty":1e2},"ref":7}'),
        (b"{}", b'{"ref":7}'),
    ],
)
def test_a_reference_is_added_where_there_is_none(line: bytes, expected: bytes) -> None:
    """A message gets a `ref` beside what it has, values untouched; its own `ref` is kept."""
    assert expected == add_reference(line, 7)


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'"text"', b"\xff", b'{"\xff":1}', b"[" * 100_000, b'{"a":NaN}']
)
def test_what_is_no_message_is_sent_as_it_is(line: bytes) -> None:
    """The server says what is wrong with a line that is no JSON object."""
    assert line == add_reference(line, 7)


def test_a_line_is_wrapped_as_data() -> None:
    """With a type and a user, a line is the event's data alone, digits untouched."""
    expected = {"ref": 3, "type": "alert:new", "data": {"x": 1}, "userId": "user-1"}

    assert expected == msgspec.json.decode(wrap("alert:new", "user-1")(b'{"x": 1}', 3))


def test_a_broadcast_is_wrapped_without_a_user() -> None:
    """Without a user none is sent, and numbers keep their digits."""
    wrapped = wrap("price:update", None)(b'{"symbol": "AAPL", "price": 187.20}', 1)

    assert b'{"ref":1,"type":"price:update","data":{"symbol":"AAPL","price":187.20}}' == wrapped


@pytest.mark.parametrize("line", [b'{"a":1},"userId":"other"', b"{", b"[" * 100_000])
def test_data_that_is_not_json_is_not_wrapped(line: bytes) -> None:
    """A line cannot end the object it is put into and add fields beside it."""
    assert line == wrap("alert:new", "user-1")(line, 1)


def test_one_event_is_sent_and_its_answer_printed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One event as an argument: one line out, the server's answer printed, exit code 0."""
    received: list[bytes] = []

    with serving(path, answering(received)):
        code = run(str(path), '{"x":1}', "alert:new", "user-1")

    assert (0, '{"ref":1,"ok":true}\n', "") == (code, *capsys.readouterr())
    assert [b'{"ref":1,"type":"alert:new","data":{"x":1},"userId":"user-1"}'] == received


def test_an_indented_argument_is_one_line(path: Path) -> None:
    """Line ends inside the argument do not split it."""
    received: list[bytes] = []

    with serving(path, answering(received)):
        run(str(path), '{\r\n  "op": "ping"\n}\n', None, None)

    assert [b'{"op":"ping","ref":1}'] == received


def test_an_error_answer_is_an_exit_code(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused event is printed as any answer and makes the exit code 1."""
    answer = b'{"ok":false,"error":{"code":"invalid_json","message":"?"}}'

    with serving(path, answering([], lambda _: answer)):
        code = run(str(path), "{", None, None)

    assert (1, answer.decode() + "\n", "") == (code, *capsys.readouterr())


@pytest.mark.parametrize("answer", [b"what?", b"[]", b'{"ref":1}'])
def test_an_answer_without_ok_is_a_failure(path: Path, answer: bytes) -> None:
    """Only a plain `ok` counts as accepted."""
    with serving(path, answering([], lambda _: answer)):
        code = run(str(path), '{"op":"ping"}', None, None)

    assert code == 1


def test_answers_are_escaped(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer cannot command the terminal."""
    with serving(path, answering([], lambda _: '{"ok":true,"x":"\x9b2J"}'.encode())):
        run(str(path), '{"op":"ping"}', None, None)

    assert capsys.readouterr().out == '{"ok":true,"x":"\\u009b2J"}\n'


def test_standard_input_is_sent_line_by_line(path: Path, give_stdin: GiveStdin) -> None:
    """Every line goes out in order, blank ones left out, the last one without its newline too."""
    give_stdin(b'{"n":1}\n\n{"n":2}\r\n{"n":3}')
    received: list[bytes] = []

    with serving(path, answering(received)):
        code = run(str(path), None, None, None)

    assert code == 0
    assert [b'{"n":1,"ref":1}', b'{"n":2,"ref":2}', b'{"n":3,"ref":3}'] == received


@pytest.mark.parametrize("text", [b"", b"\n\r\n"])
def test_empty_input_is_no_error_but_said(
    path: Path, give_stdin: GiveStdin, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    """Nothing to publish is published; one line says that it was nothing."""
    give_stdin(text)
    received: list[bytes] = []

    with serving(path, answering(received)):
        code = run(str(path), None, None, None)

    assert (0, []) == (code, received)
    assert ("", "sseserver publish: standard input held no line: nothing was published\n") == (
        capsys.readouterr()
    )


def test_lines_are_sent_ahead_of_answers_up_to_the_window(
    path: Path, give_stdin: GiveStdin
) -> None:
    """A window of lines is sent without any answer, and not much more than that."""
    total = 20 * MAX_UNANSWERED_LINES
    give_stdin(b'{"op":"ping","some":"words to fill a line"}\n' * total)
    most_per_chunk = 65536 // 44
    ahead: list[int] = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            waiting: list[bytes] = []
            for count, line in enumerate(file, 1):
                waiting.append(line)
                ahead.append(len(waiting))
                if len(waiting) == MAX_UNANSWERED_LINES or count == total:
                    # Whatever the client sent beyond the window is in the socket now.
                    connection.sendall(b"\n".join([*map(accepted, waiting), b""]))
                    waiting.clear()

    with serving(path, serve):
        code = run(str(path), None, None, None)

    assert (0, total) == (code, len(ahead))
    assert max(ahead) <= MAX_UNANSWERED_LINES + most_per_chunk


def test_a_line_past_every_limit_is_left_out(
    path: Path,
    give_stdin: GiveStdin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line that no server would take is named, the others are published, exit code 1."""
    monkeypatch.setattr(publish, "_MAX_LINE_BYTES", 30)
    give_stdin(b'{"n":1}\n{"n":"%b"}\n{"n":3}\n' % (b"x" * 40))
    received: list[bytes] = []

    with serving(path, answering(received)):
        code = run(str(path), None, None, None)

    assert (1, [b'{"n":1,"ref":1}', b'{"n":3,"ref":3}']) == (code, received)
    assert capsys.readouterr().err == (
        "sseserver publish: line 2 is longer than 30 bytes: left out\n"
    )


def test_an_endless_answer_is_a_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer past every limit is not kept and not taken for `ok`."""
    monkeypatch.setattr(publish, "_MAX_LINE_BYTES", 30)

    with serving(path, answering([], lambda _: b'{"ok":true,"x":"%b"}' % (b"x" * 40))):
        code = run(str(path), '{"op":"ping"}', None, None)

    assert code == 1


def test_no_socket_is_one_clear_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing at the path: one line says so and asks the likely question."""
    assert run(str(path), "{}", None, None) == 1
    assert capsys.readouterr().err == (
        f"sseserver publish: cannot connect to {path}: no such socket; "
        "is the server running there (--ingest names another path)?\n"
    )


def test_a_stale_socket_is_one_clear_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A socket that nobody listens on is told apart from none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unused:
        unused.bind(str(path))

    assert run(str(path), "{}", None, None) == 1
    assert capsys.readouterr().err == (
        f"sseserver publish: cannot connect to {path}: no server listens on it\n"
    )


@pytest.mark.parametrize("is_stale", [False, True])
def test_a_server_that_is_just_starting_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_stale: bool
) -> None:
    """Without a socket, or with one that a killed server left, it is looked for again."""
    if is_stale:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unused:
            unused.bind(str(path))
    received: list[bytes] = []

    with ExitStack() as stack:

        def start_server(_: float) -> None:
            path.unlink(missing_ok=True)
            stack.enter_context(serving(path, answering(received)))

        monkeypatch.setattr(publish, "START_SECONDS", 60.0)
        monkeypatch.setattr("time.sleep", start_server)
        code = run(str(path), '{"op":"ping"}', None, None)

    assert (0, '{"ref":1,"ok":true}\n', "") == (code, *capsys.readouterr())
    assert [b'{"op":"ping","ref":1}'] == received


def test_a_server_is_not_waited_for_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for again until its time to start is over."""
    now = [100.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(publish, "START_SECONDS", 2.0)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", pass_time)

    assert run(str(path), "{}", None, None) == 1
    assert 102.0 <= now[0] < 102.1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 200, "AF_UNIX path too long"),
        ("file/feed.sock", "Not a directory"),
    ],
)
def test_other_failures_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    """Any other failure to connect is given with the system's words for it."""
    (tmp_path / "file").touch()

    assert run(str(tmp_path / name), "{}", None, None) == 1
    assert capsys.readouterr().err.endswith(f": {reason}\n")


def test_a_server_that_closes_leaves_an_error(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection ends before the answer: said with the number of lines, exit code 1."""

    def read_and_leave(connection: socket.socket) -> None:
        connection.recv(1000)

    with serving(path, read_and_leave):
        code = run(str(path), '{"op":"ping"}', None, None)

    assert (1, "sseserver publish: the server closed the connection before it answered 1\n") == (
        code,
        capsys.readouterr().err,
    )


def test_a_server_that_closes_between_lines_is_noticed(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends while standard input is still open: no waiting for the next line."""
    reading, writing = socket.socketpair()
    monkeypatch.setattr("sys.stdin", reading)

    with reading, writing, serving(path, lambda _: None):
        code = run(str(path), None, None, None)

    assert (1, "sseserver publish: the server closed the connection\n") == (
        code,
        capsys.readouterr().err,
    )


def test_a_reset_is_the_same_as_a_close(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that goes with unread lines resets the connection: the same clear line."""

    def leave_unread(connection: socket.socket) -> None:
        connection.recv(1, socket.MSG_PEEK)

    with serving(path, leave_unread):
        code = run(str(path), '{"op":"ping"}', None, None)

    assert (1, "sseserver publish: the server closed the connection before it answered 1\n") == (
        code,
        capsys.readouterr().err,
    )


def test_the_last_answer_of_a_closing_server_is_printed(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server said before it closed is printed although nothing can be sent to it."""
    refusal = b'{"ok":false,"error":{"code":"not_allowed","message":"uid"}}\n'
    has_closed = threading.Event()

    def refuse(connection: socket.socket) -> None:
        connection.sendall(refusal)
        connection.close()
        has_closed.set()

    def wait_and_prepare(line: bytes, ref: int) -> bytes:
        assert has_closed.wait(timeout=10)
        return add_reference(line, ref)

    monkeypatch.setattr(publish, "add_reference", wait_and_prepare)

    with serving(path, refuse):
        code = run(str(path), '{"op":"ping"}', None, None)

    assert (1, refusal.decode()) == (code, capsys.readouterr().out)
