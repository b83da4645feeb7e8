"""Configurations that say anything: TOML broken at random, any value for any key, every layer.

Each is either a configuration that a server can be built with, or is refused with every problem
that it has, one line each. Bounded here; `SSESERVER_FUZZ_MINUTES` lets it go on.
"""

import datetime
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sseserver.config import RULES, Config
from sseserver.config_loading import load, start_refusals
from sseserver.config_reload import fixed_changes, with_fixed
from sseserver.errors import ConfigError
from sseserver.ingest.redaction import Redactor
from tests.support.core import Core, request_for
from tests.support.long_run import TIMEOUT_SECONDS, rounds

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

EXAMPLE: Final = (Path(__file__).parents[2] / "config.toml").read_text()
KEYS: Final = sorted(RULES)

# As TOML has them.
LITERALS: Final = (
    "true", "false", "0", "-1", "1", "5", "100", "65536", "4294967295", "99999999999999999999",
    "9" * 5000, "0x" + "f" * 5000, "0.05", "-0.0", "1e400", "nan", "-inf", "inf", '""', '" "',
    '"\\u0000"',
    '"\\n"', '"*"', '"::1"', '"[::1]"', '"1.2.3.4"', '"1.2.3.4.5"', '"10.0.0.0/8"', '"10.0.0.1/8"',
    '"::/0"', '"fe80::1%eth0"', '"localhost"', '"LOCALHOST."', '"-"', '"a..b"', '"xn--"', '"é"',
    '"https://example.com"', '"http://[::1]:99999"', '"null"', '"open"', '"session"', '"zstd"',
    '"gzip"', '"br"', '"memory"', '"nats"', '"nats://x"', '"debug"', '"DEBUG"', '"json"', '"0660"',
    '"0888"', '"/"', '"~"', '"' + "x" * 200 + '"', '"' + "é" * 60 + '"', '"_"', '"___"', '"token"',
    '"\ufc5e"', '"\u0345"', '"\u037a"', '"\ufe70"', '"\u00aa"', '"²"', '"\u200b"', '"\U0001f600"',
    "[]", "[[]]", "{}", "[{}]", '["*"]', '["10.0.0.0/8"]', '["token", ""]', '["\ufe76"]', "[1, 2]",
    "[true]", '["zstd", "zstd"]', "{a = 1}", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z",
    "[" * 400 + "]" * 400, "'''\n'''", "a", "", "1 # x", "1_000", "+5", "0o17", "1.", ".5",
)  # fmt: skip

# As flags and other callers give them.
VALUES: Final[tuple[Any, ...]] = (
    True, False, 0, 1, -1, 2**64, 10**5000, 0.5, float("nan"), float("inf"), -0.0, "", "\0", "\n",
    "\ud800", "\udc80", "x" * 10_000, "\u0661", "1.2.3.4", "10.0.0.0/8", "::1/128", "token",
    "\ufc5e", b"bytes", [], [[]], ["\ud800"], ["*", "*"], [None], {}, {"a": 1}, (), ("zstd",),
    object(),
    datetime.date(2026, 1, 2), datetime.time(1), ["10.0.0.0/8", "10.0.0.1/8", 1],
)  # fmt: skip


def some_line(moments: random.Random) -> str:
    """Return a line of TOML that sets a key, or nearly."""
    section, _, key = moments.choice(KEYS).partition(".")
    literal = moments.choice(LITERALS)
    forms = (
        f"[{section}]",
        f"[{section}]\n{key} = {literal}",
        f"{key} = {literal}",
        f"{section}.{key}{moments.choice('xyz')} = {literal}",
        f"\"{section}\".'{key}' = {literal}",
        f"{'a.' * moments.choice((1, 50, 1500))}a = {literal}",
        f"{section}.{key} = {literal}",
    )
    return moments.choice((*forms, forms[-1]))


def some_file(moments: random.Random) -> bytes:
    """Return a file: lines of our own, the example with changes, or bytes."""
    if moments.random() < 0.6:
        lines = [some_line(moments) for _ in range(moments.choice((1, 2, 5, 20)))]
        text = "\n".join(lines)
    else:
        lines = EXAMPLE.splitlines()
        for _ in range(moments.choice((1, 1, 3))):
            place = moments.randrange(len(lines))
            if "=" in lines[place] and moments.random() < 0.7:
                lines[place] = f"{lines[place].partition('=')[0]}= {moments.choice(LITERALS)}"
            else:
                lines[place] = moments.choice(("", "[", "[server]", some_line(moments)))
        text = "\n".join(lines)
    data = bytearray(text.encode())
    if moments.random() < 0.3:
        for _ in range(moments.choice((1, 2, 8))):
            place = moments.randrange(len(data) + 1)
            data[place : place + moments.choice((0, 1))] = moments.choice(
                (
                    b"\0",
                    b"\xff",
                    b"\r",
                    b"\n",
                    b'"',
                    b"'",
                    b"[",
                    b"]",
                    b"=",
                    b".",
                    b"\xc2\x85",
                    b"{",
                )
            )
    return bytes(data)


def some_environment(moments: random.Random) -> dict[str, str]:
    """Return variables, ours and nearly ours."""
    found = {}
    for _ in range(moments.choice((0, 0, 1, 3))):
        name = "SSESERVER__" + moments.choice(KEYS).replace(".", "__").upper()
        name = moments.choice((name, name, name, name + "\ud800", name + "X", "SSESERVER__", "é"))
        text = moments.choice((*LITERALS, "a,b", ",", "\ud800", "x\n[y]", "1\ny = 2"))
        found[name] = text
    return found


def some_flags(moments: random.Random) -> dict[str, Any]:
    """Return values for keys."""
    keys = moments.sample(KEYS, moments.choice((0, 0, 1, 2, 10)))
    return {key: moments.choice(VALUES) for key in keys}


def problems_of(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[Config | None, set[str]]:
    """Return a configuration, or the keys that are wrong; check how they are told."""
    try:
        return load(path, environ, flags), set()
    except ConfigError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.value, problem
        assert problem.allowed, problem
        # What a parser says of a table may name all tables around it.
        assert len(problem.path) + len(problem.value) < 500 or problem.value == "is not TOML"
        assert str(problem).isprintable(), problem
    return None, {problem.path.partition("[")[0] for problem in problems}


def build_with(config: Config) -> None:
    """Build what a configuration decides of a server, and use it a little."""
    start_refusals(config)
    assert fixed_changes(config, with_fixed(config, Config())) == []
    redactor = Redactor(config.redaction.secret_keys, config.redaction.internal_prefixes)
    redactor.redact({"a": [{"token": 1}]})


@given(st.integers(0, 2**64))
@settings(max_examples=120)
def layers(seed: int) -> None:
    """Load one file under some variables and flags."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sseserver.toml")
        path.write_bytes(some_file(moments))
        environ, flags = some_environment(moments), some_flags(moments)
        config, wrong = problems_of(path, environ, flags)
        alone = [
            problems_of(path, {}, {})[1],
            *(problems_of(None, {name: text}, {})[1] for name, text in environ.items()),
            *(problems_of(None, {}, {key: value})[1] for key, value in flags.items()),
        ]
    if config is not None:
        build_with(config)
    # A certificate and its key are looked at together, once everything else is known of them.
    assert without_tls(wrong) == without_tls(set().union(*alone))


def without_tls(keys: set[str]) -> set[str]:
    """Return keys other than those that are judged together."""
    return {key for key in keys if not key.startswith("server.tls_")}


def test_any_configuration_is_one_or_is_refused_with_every_problem() -> None:
    """Together the layers have the problems that each of them has, and no error is another's."""
    rounds(layers)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_takes_or_refuses_every_value(key: str) -> None:
    """Under a flag, in a variable and in a file."""
    name = f"SSESERVER__{key.replace('.', '__').upper()}"
    for value in VALUES:
        config, wrong = problems_of(None, {}, {key: value})
        assert wrong <= {key, "server.tls_cert", "server.tls_key"}
        if config is not None:
            build_with(config)
    for literal in LITERALS:
        config, wrong = problems_of(None, {name: literal}, {})
        assert wrong <= {key, "server.tls_cert", "server.tls_key"}
        if config is not None:
            build_with(config)


def test_a_stream_opens_under_the_oddest_limits() -> None:
    """The least and the most that each key of the streams takes."""
    for most in (False, True):
        flags = {
            "limits.max_backlog_bytes": 32 << 20 if most else 4096,
            "buffer.events_per_user": 2000 if most else 1,
            "buffer.max_users": 10_000_000 if most else 1,
            "buffer.max_bytes": 1 << 40 if most else 4096,
            "buffer.ttl_seconds": 86_400 if most else 0.05,
            "stream.retry_ms": 3_600_000 if most else 500,
            "stream.retry_spread_ms": 3_600_000 if most else 0,
            "stream.keepalive_seconds": 3600 if most else 0.05,
            "batching.window_ms": 3000 if most else 5,
            "batching.threshold_per_second": 1_000_000 if most else 1,
        }
        core = Core(flags)
        connection = core.connect(request_for("alerts"))
        core.fact("user-1", 1)
        core.hub.flush()
        assert connection.numbers() == [1]
