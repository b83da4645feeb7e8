"""Tests for `sseserver.cli`: exit codes and wiring, with the real program where it must run."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sseserver
from sseserver.cli import main
from tests.unit.client.fake_ingest_port import answering, serving


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run where no file and no variable configures anything."""
    for name in os.environ:
        if name.startswith("SSESERVER__"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def program(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the real program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sseserver", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the real program meanwhile; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "sseserver", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def log_until(process: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    """Return the first log line of an event."""
    assert process.stdout is not None
    for line in process.stdout:
        entry: dict[str, Any] = json.loads(line)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"no {event} was logged: {process.stderr and process.stderr.read()}")


def test_the_module_is_the_program() -> None:
    """`python -m sseserver` has the same version and help."""
    done = program("--version")

    assert (0, f"sseserver {sseserver.__version__}\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )


def test_help_does_not_load_the_server() -> None:
    """`--help` answers at once: nothing that only a command needs is imported."""
    code = (
        "import sys; from sseserver.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('asyncio', 'msgspec', 'structlog', 'httpx') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_wrong_arguments_are_exit_code_2() -> None:
    """An unknown option ends the program before anything starts."""
    done = program("serve", "--colour", "red")

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.endswith("sseserver: error: unrecognized arguments: --colour red\n")


def test_without_a_command_the_commands_are_shown() -> None:
    """The name of the program alone lists the commands, with exit code 2."""
    done = program()

    assert (2, "") == (done.returncode, done.stdout)
    assert "\n  serve         run the server\n" in done.stderr


def test_a_good_file_passes_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    """`check-config` says so and exits with 0."""
    Path("good.toml").write_text("[server]\nport = 9000\n")

    assert (0, "good.toml: no problems\n", "") == (
        main(["check-config", "good.toml"]),
        *capsys.readouterr(),
    )


def test_every_problem_of_a_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each, with its key's path, and exit code 2."""
    Path("bad.toml").write_text('[server]\nport = 99999\n[log]\nlevel = "loud"\nlvl = 1\n')

    code = main(["check-config", "bad.toml"])
    out, err = capsys.readouterr()

    assert (2, "") == (code, out)
    assert {"sseserver: server.port", "sseserver: log.level", "sseserver: log.lvl"} == {
        ":".join(line.split(":")[:2]) for line in err.splitlines()
    }


def test_the_check_looks_at_the_file_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad variable of this terminal is not the file's fault."""
    monkeypatch.setenv("SSESERVER__SERVER__PORT", "many")
    Path("good.toml").write_text("")

    assert main(["check-config", "good.toml"]) == 0


@pytest.mark.parametrize("arguments", [["check-config", "none.toml"], ["serve", "--config", "no"]])
def test_a_missing_file_is_a_bad_configuration(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """One clear line and exit code 2."""
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_protected_mode_refuses_is_found_by_the_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file that `serve` would refuse does not pass."""
    Path("open.toml").write_text('[server]\nhost = "0.0.0.0"\n')

    assert main(["check-config", "open.toml"]) == 2
    assert capsys.readouterr().err.startswith("sseserver: auth.trading: ")


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_protected_mode_refuses_to_start(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Open trading on a foreign address: exit code 2, nothing started."""
    assert main([command, "--host", "0.0.0.0", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("sseserver: auth.trading: ")
    assert not Path("sseserver.sock").exists()


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_options_are_checked_as_the_file_is(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """All wrong values at once, each under its key."""
    code = main([command, "--port", "99999", "--log-level", "loud", "--ingest", ""])
    keys = {line.split(": ")[1] for line in capsys.readouterr().err.splitlines()}

    assert (2, {"server.port", "log.level", "ingest.path"}) == (code, keys)


def test_bad_quotes_end_the_demo_before_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed file is one clear line and exit code 2."""
    Path("quotes.csv").write_text("timestamp,symbol,price,bid,ask\nnow,A,1,1,1\n")

    assert main(["demo", "--port", "0", "--quotes", "quotes.csv"]) == 2
    assert capsys.readouterr().err == (
        "sseserver: --quotes: quotes.csv: line 2: timestamp 'now' is not ISO 8601\n"
    )


def test_a_taken_port_is_one_clear_line_and_exit_code_1() -> None:
    """No traceback, and the ingest socket is gone again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = program("serve", "--port", str(port), "--log-level", "error")

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"sseserver: cannot listen on 127.0.0.1:{port}: ")
    assert len(done.stderr.splitlines()) == 1
    assert not Path("sseserver.sock").exists()


def test_serve_listens_reloads_and_drains() -> None:
    """Options override the file, SIGHUP reads file and options again, SIGTERM ends with 0."""
    Path("c.toml").write_text('[server]\nport = 1\n[log]\nlevel = "debug"\n')
    options = ["--config", "c.toml", "--port", "0", "--ingest", "feed.sock", "--log-level", "info"]
    with running("serve", *options) as process:
        listening = log_until(process, "listening")
        Path("c.toml").write_text("[server]\nport = 2\nmax_connections = 7\n")
        process.send_signal(signal.SIGHUP)
        reloaded = log_until(process, "reloaded")
        Path("c.toml").write_text("[server]\nport = -1\n")
        process.send_signal(signal.SIGHUP)
        refused = log_until(process, "reload_refused")
        process.terminate()
        code = process.wait(timeout=20)

    assert (0, "feed.sock") == (code, listening["ingest_path"])
    assert listening["port"] > 1
    assert [] == [key for key in reloaded["needs_restart"] if key != "server.max_connections"]
    assert refused["problems"][0].startswith("server.port: ")


def test_publish_finds_the_socket_where_it_is_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--ingest`, else the environment, else `sseserver.sock` in this directory."""
    received: dict[str, list[bytes]] = {"sseserver.sock": [], "env.sock": [], "flag.sock": []}
    publish = ["publish", "--type", "price:update", "{}"]
    with serving(tmp_path / "sseserver.sock", answering(received["sseserver.sock"])):
        codes = [main(publish)]
    monkeypatch.setenv("SSESERVER__INGEST__PATH", "env.sock")
    with serving(tmp_path / "env.sock", answering(received["env.sock"])):
        codes.append(main(publish))
    with serving(tmp_path / "flag.sock", answering(received["flag.sock"])):
        codes.append(main([*publish, "--ingest", "flag.sock"]))

    assert [0, 0, 0] == codes
    assert [1, 1, 1] == [len(lines) for lines in received.values()]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_publish_reads_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """With `-`, or without JSON where standard input is no terminal."""
    Path("lines").write_text('{"op":"ping"}\n')
    received: list[bytes] = []
    with (
        Path("lines").open() as stdin,
        serving(tmp_path / "sseserver.sock", answering(received)),
    ):
        monkeypatch.setattr("sys.stdin", stdin)
        code = main(["publish", *arguments])

    assert (0, [b'{"op":"ping","ref":1}']) == (code, received)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--user", "u", "{}"], "--user needs --type: a full message names its user itself"),
        ([" "], "JSON is empty"),
        ([], "give the event as JSON, or - to type lines"),
    ],
)
def test_publish_refuses_what_cannot_be_meant(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    error: str,
) -> None:
    """A user without a type, an empty event, and waiting on a terminal unasked: exit code 2."""
    terminal, other_end = os.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(other_end):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(SystemExit) as raised:
            main(["publish", *arguments])

    assert raised.value.code == 2
    assert capsys.readouterr().err.endswith(f"sseserver publish: error: {error}\n")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_publish_without_any_input_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Where the caller closed standard input there is nothing to read."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SystemExit) as raised:
        main(["publish", *arguments])

    assert raised.value.code == 2


def test_publish_without_a_server_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the socket."""
    monkeypatch.setattr("sseserver.client.publish.START_SECONDS", 0.0)
    assert main(["publish", "{}"]) == 1
    assert capsys.readouterr().err.startswith(
        "sseserver publish: cannot connect to sseserver.sock: no such socket"
    )


def test_publish_interrupted_is_exit_code_1(tmp_path: Path) -> None:
    """Ctrl-C while answers are awaited: no traceback, and not taken for success."""

    def interrupt(connection: socket.socket) -> None:
        connection.recv(1000)
        process.send_signal(signal.SIGINT)
        connection.recv(1000)

    with serving(tmp_path / "sseserver.sock", interrupt), running("publish", "{}") as process:
        out, err = process.communicate(timeout=20)

    assert (1, "", "") == (process.returncode, out, err)


def test_tail_passes_its_options_on(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that refuses for good is exit code 1, and the request had cookie and ID."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with running("tail", url, "--cookie", "a=b", "--last-event-id", "1-abc") as process:
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(65536)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                out, err = process.communicate(timeout=20)

    assert (1, "", "sseserver tail: 404 Not Found\n") == (process.returncode, out, err)
    assert b"\r\nCookie: a=b\r\n" in request
    assert b"\r\nLast-Event-ID: 1-abc\r\n" in request


def test_output_survives_any_encoding() -> None:
    """Text that the terminal's encoding lacks is escaped, not a traceback."""
    Path("\xe9.toml").write_text("")
    done = program("check-config", "\xe9.toml", PYTHONIOENCODING="ascii", PYTHONUTF8="1")

    assert (0, "\\xe9.toml: no problems\n") == (done.returncode, done.stdout)
