"""Tests for `sseserver.demo.command`: settings, banner, and the real program with its feed."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import pytest

from sseserver.config import Config
from sseserver.config_loading import load
from sseserver.daemon import Listening
from sseserver.demo.command import adapt, banner, own_words
from sseserver.demo.recorded_quotes import QuotesFile

LISTENING = Listening("127.0.0.1", 8080, "/run/feed.sock")


def configured(**flags: object) -> Config:
    """Return a configuration with some keys set, `__` for the dot."""
    return load(None, {}, {key.replace("__", "."): value for key, value in flags.items()})


def test_loopback_is_exempt_from_the_attempt_limit() -> None:
    """Whoever tries things out on one machine is not locked out; nothing else changes."""
    config = configured(log__level="debug")
    adapted = adapt(config, asked_for_level=False)

    assert adapted.limits.exempt_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert adapted.limits.attempts_per_minute_per_ip == config.limits.attempts_per_minute_per_ip
    assert adapted.server == config.server


def test_configured_networks_are_kept() -> None:
    """Who configured exemptions gets these."""
    networks = ["192.0.2.0/24"]
    adapted = adapt(configured(limits__exempt_networks=networks), asked_for_level=False)

    assert adapted.limits.exempt_networks == (ip_network("192.0.2.0/24"),)


@pytest.mark.parametrize(
    ("level", "asked_for_level", "adapted"),
    [
        ("info", False, "warning"),
        ("info", True, "info"),
        ("debug", False, "debug"),
        ("error", False, "error"),
    ],
)
def test_only_the_default_level_is_quietened(
    level: str, asked_for_level: bool, adapted: str
) -> None:
    """A level that somebody chose is kept."""
    config = configured(log__level=level)

    assert adapted == adapt(config, asked_for_level=asked_for_level).log.level


def test_the_banner_names_the_program_as_it_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Off the search path its own file is named, and its interpreter where there is none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(Path(".venv/bin/sseserver").absolute())])
    by_script = own_words()
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py"])
    by_module = own_words()
    program = tmp_path / "sseserver"
    program.touch(mode=0o755)

    assert by_script == ".venv/bin/sseserver"
    assert by_module == f"{shlex.quote(sys.executable)} -m sseserver"
    assert own_words() == "sseserver"


def test_the_banner_has_address_market_and_sessions() -> None:
    """Where the server is, what it shows, and a cookie for each user."""
    text = banner(LISTENING, Config(), None, "sseserver")

    assert "sseserver demo at http://127.0.0.1:8080: a simulated market of 12 symbols" in text
    assert re.findall(r"session=demo-\w+-session", text.split("Session cookies:")[1]) == [
        "session=demo-alice-session",
        "session=demo-bob-session",
        "session=demo-carol-session",
        "session=demo-admin-session",
    ]


def test_the_banner_says_what_is_replayed() -> None:
    """Recorded quotes are summed up, and their symbols are the example."""
    text = banner(
        LISTENING, Config(), QuotesFile(Path("q.csv"), 1234567, ("SPY", "IBM", "AIG")), "sseserver"
    )

    assert ": 1,234,567 recorded quotes of 3 symbols, " in text
    assert "prices?symbols=SPY,IBM'" in text


def test_the_banner_follows_the_configuration() -> None:
    """Cookie name, TLS and ingest path are those in force; paths work from any directory."""
    config = configured(auth__cookie_name="sid")
    server = msgspec.structs.replace(config.server, tls_cert="cert.pem", tls_key="key.pem")
    config = msgspec.structs.replace(config, server=server)
    text = banner(LISTENING._replace(ingest_path="my feed.sock"), config, None, "sseserver")

    assert "--cookie sid=demo-alice-session https://127.0.0.1:8080/api/stream/orders\n" in text
    assert f"--ingest '{Path.cwd()}/my feed.sock' " in text


@pytest.mark.parametrize(
    ("host", "address", "is_local"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "[::1]", True),
        ("localhost", "localhost", True),
        ("0.0.0.0", "127.0.0.1", False),
        ("::", "[::1]", False),
        ("192.0.2.1", "192.0.2.1", False),
        ("example.com", "example.com", False),
    ],
)
def test_the_banner_warns_where_others_can_reach_it(
    host: str, address: str, is_local: bool
) -> None:
    """Fixed sessions are no secret, which matters once the address is not loopback."""
    text = banner(LISTENING._replace(host=host), Config(), None, "sseserver")

    assert f"http://{address}:8080/api/stream/orders" in text
    assert is_local == ("they are no secret" not in text)


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run the real demo on a free port and yield it with its banner."""
    command = [sys.executable, "-m", "sseserver", "demo", "--port", "0", *arguments]
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            yield process, "".join(lines)
        finally:
            process.kill()


def commands(text: str, name: str) -> list[list[str]]:
    """Return the lines of a banner that start with a command, split as a shell would."""
    return [shlex.split(line) for line in text.splitlines() if line.startswith(f"  {name} ")]


def test_what_the_banner_shows_works(tmp_path: Path) -> None:
    """Every stream it names opens, its event is taken, and Ctrl-C ends with 0 and no error."""
    with demo(tmp_path) as (process, text):
        for words in commands(text, "curl"):
            cookies = words[words.index("--cookie") + 1] if "--cookie" in words else ""
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            with httpx.stream(
                method, words[-1], headers={"Cookie": cookies}, trust_env=False
            ) as response:
                assert response.status_code == 200, words
        publish = next(line for line in text.splitlines() if " publish --ingest " in line)
        published = subprocess.run(
            shlex.split(publish), cwd=tmp_path, check=False, capture_output=True, text=True
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (0, "") == (published.returncode, published.stderr)
    assert (0, "") == (process.returncode, err)
    assert "demo_" not in out  # no line was refused, the feed did not end


def test_recorded_quotes_reach_a_client_in_order(tmp_path: Path) -> None:
    """What a file holds comes out of the price stream, in the file's order, round by round."""
    rows = [f"2026-01-02T10:00:0{n}Z,S{n},{n}.50,{n}.00,{n + 1}.00\n" for n in range(1, 7)]
    (tmp_path / "q.csv").write_text("".join(["timestamp,symbol,price,bid,ask\n", *rows]))
    with demo(tmp_path, "--quotes", "q.csv", "--speed", "20") as (process, text):
        url = commands(text, "curl")[0][-1]
        seen = []
        with httpx.stream("GET", url, trust_env=False) as response:
            for line in response.iter_lines():
                if match := re.match(r'data: \{"symbol":"S(\d)","price":(\d\.5),', line):
                    assert float(match[2]) == int(match[1]) + 0.5
                    seen.append(int(match[1]))
                    if len(seen) == 9:
                        break
        process.terminate()
        out, _ = process.communicate(timeout=20)

    assert all(after == before % 6 + 1 for before, after in pairwise(seen))
    assert process.returncode == 0
    assert "demo_quotes_begin_anew" in out
