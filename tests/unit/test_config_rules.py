"""Tests for `sseserver.config_rules`."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from sseserver.config import RULES
from sseserver.config_loading import MAX_SHOWN_CHARACTERS
from sseserver.errors import ConfigProblem
from tests.support.configuration import problems_of, value_of

CONFIG_FILE = Path(__file__).parents[2] / "config.toml"


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("server.port", 0, 65535),
        ("server.max_connections", 1, 1_000_000),
        ("server.header_timeout_seconds", 0.05, 3600),
        ("server.http_idle_seconds", 0.05, 86400),
        ("server.max_header_bytes", 256, 1 << 20),
        ("server.max_body_bytes", 1, 64 << 20),
        ("server.drain_seconds", 0.05, 3600),
        ("limits.connections_per_user", 1, 500),
        ("limits.attempts_per_minute_per_ip", 0, 1_000_000),
        ("limits.max_symbols", 1, 100_000),
        ("limits.max_backlog_bytes", 4096, 32 << 20),
        ("limits.max_sessions", 1, 100_000_000),
        ("limits.max_strategies", 1, 10_000_000),
        ("limits.max_instruments", 1, 10_000_000),
        ("limits.max_orders_per_user", 1, 100_000),
        ("limits.max_positions_per_user", 1, 100_000),
        ("stream.retry_ms", 500, 3_600_000),
        ("stream.retry_spread_ms", 0, 3_600_000),
        ("stream.keepalive_seconds", 0.05, 3600),
        ("stream.idle_timeout_seconds", 0.05, 86400),
        ("buffer.events_per_user", 1, 2000),
        ("buffer.ttl_seconds", 0.05, 86400),
        ("buffer.max_users", 1, 10_000_000),
        ("buffer.max_bytes", 4096, 1 << 40),
        ("batching.threshold_per_second", 1, 1_000_000),
        ("batching.window_ms", 5, 3000),
        ("compression.level", 1, 9),
        ("compression.max_contexts", 0, 1_000_000),
        ("ingest.max_line_bytes", 256, 64 << 20),
        ("state.save_seconds", 0.05, 86400),
    ],
)
def test_a_range_includes_its_ends_and_nothing_beyond(key: str, low: float, high: float) -> None:
    """Both ends of a range are allowed, and the next value on either side is not."""
    step = 1 if isinstance(low, int) else 0.01

    assert low == value_of(key, flags={key: low})
    assert high == value_of(key, flags={key: high})
    for beyond in (low - step, high + step):
        (problem,) = problems_of(None, flags={key: beyond})
        assert f" {low} to {high}" in problem.allowed


def test_the_documented_ranges_are_the_real_ones() -> None:
    """`config.toml` names both ends of each numeric key's range above that key."""
    missing = []
    comment = section = ""
    for line in CONFIG_FILE.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("#"):
            comment += f"{line[2:]} "
        elif " = " in line and not line.startswith(" "):
            key = f"{section}.{line.partition(' = ')[0]}"
            words = RULES[key].allowed.split()
            if words[0] in {"a", "an"} and "from" in words:
                low, high = words[words.index("from") + 1], words[words.index("to") + 1]
                if f"{low} to {high}" not in comment and f"{low} (fast) to {high}" not in comment:
                    missing.append(key)
            comment = ""

    assert missing == []


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [
        ("server.drain_seconds", 3, 3.0),
        ("server.drain_seconds", 0.2, 0.2),
        ("batching.window_ms", 12.5, 12.5),
        ("server.host", "LocalHost", "localhost"),
        ("server.host", "[::1]", "::1"),
        ("server.host", "0:0:0:0:0:0:0:1", "::1"),
        ("server.host", "fe80::1%eth0", "fe80::1%eth0"),
        ("server.host", "web_1.internal", "web_1.internal"),
        ("server.allowed_hosts", ["App.Example.com"], ("app.example.com",)),
        ("server.trusted_proxies", ["10.0.0.0/8", "::1"], ("10.0.0.0/8", "::1/128")),
        ("limits.exempt_networks", ["192.0.2.1"], ("192.0.2.1/32",)),
        ("cors.allow_origins", [], ()),
        ("cors.allow_origins", ["*", "https://a.example"], ("*", "https://a.example")),
        ("cors.allow_origins", ["HTTPS://A.example:443"], ("https://a.example",)),
        ("cors.allow_origins", ["http://a.example:80"], ("http://a.example",)),
        ("cors.allow_origins", ["http://a.example:443"], ("http://a.example:443",)),
        ("cors.allow_origins", ["http://[::1]:8080"], ("http://[::1]:8080",)),
        ("cors.allow_origins", ["app://localhost"], ("app://localhost",)),
        ("auth.trading", "session", "session"),
        ("auth.protected_mode", False, False),
        ("auth.cookie_name", "__Host-session.1", "__Host-session.1"),
        ("compression.encodings", [], ()),
        ("compression.encodings", ["gzip"], ("gzip",)),
        ("ingest.mode", "600", "600"),
        ("ingest.path", "/run/" + "x" * 102, "/run/" + "x" * 102),
        ("ingest.allowed_uids", [0, 4294967294], (0, 4294967294)),
        ("state.path", "", ""),
        ("limits.max_keys", 100_000, 100_000),
        ("redaction.secret_keys", ["pin"], ("pin",)),
        ("redaction.secret_keys", ["\u2474", "\uff30"], ("\u2474", "\uff30")),
        ("redaction.internal_prefixes", [], ()),
        ("backplane.kind", "memory", "memory"),
        ("backplane.servers", ["tls://n1:4222"], ("tls://n1:4222",)),
        ("log.level", "warning", "warning"),
        ("log.format", "json", "json"),
    ],
)
def test_a_value_is_kept_in_its_type(key: str, given: object, kept: object) -> None:
    """Values of every kind are accepted, and kept in the form that the server works with."""
    if "networks" in key or "proxies" in key:
        assert isinstance(kept, tuple)
        kept = tuple(map(ip_network, kept))

    value = value_of(key, flags={key: given})

    assert (kept, type(kept)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "value", "where", "shown"),
    [
        ("server.port", True, "", "true"),
        ("server.port", 80.0, "", "80.0"),
        ("server.port", "80", "", "'80'"),
        ("server.port", {"a": 1}, "", "a table"),
        ("server.drain_seconds", float("nan"), "", "nan"),
        ("server.drain_seconds", float("inf"), "", "inf"),
        ("server.drain_seconds", True, "", "true"),
        ("server.drain_seconds", "1", "", "'1'"),
        pytest.param(
            *("server.drain_seconds", 10**400, "", f"1{'0' * (MAX_SHOWN_CHARACTERS - 2)}…"),
            id="server.drain_seconds-long",
        ),
        ("server.host", "", "", "''"),
        ("server.host", 5, "", "5"),
        ("server.host", "127.0.0.256", "", "'127.0.0.256'"),
        ("server.host", "host:8080", "", "'host:8080'"),
        ("server.host", "a\n", "", "'a\\n'"),
        ("server.host", f"{'a' * 64}.example", "", f"'{'a' * 58}…"),
        ("server.allowed_hosts", "example.com", "", "'example.com'"),
        ("server.allowed_hosts", ["ok", "http://x"], "[1]", "'http://x'"),
        ("server.trusted_proxies", ["10.0.0.1/8"], "[0]", "'10.0.0.1/8'"),
        ("server.trusted_proxies", [167772160], "[0]", "167772160"),
        ("cors.allow_origins", ["null"], "[0]", "'null'"),
        ("cors.allow_origins", ["https://a.example/"], "[0]", "'https://a.example/'"),
        ("cors.allow_origins", ["https://a.example:65536"], "[0]", "'https://a.example:65536'"),
        ("cors.allow_origins", ["https://*.example"], "[0]", "'https://*.example'"),
        ("auth.cookie_name", "a b", "", "'a b'"),
        ("auth.cookie_name", "", "", "''"),
        ("auth.trading", "Open", "", "'Open'"),
        ("auth.protected_mode", 1, "", "1"),
        ("compression.encodings", ["br"], "[0]", "'br'"),
        ("ingest.path", "", "", "''"),
        ("ingest.path", "a\0b", "", "'a\\x00b'"),
        ("ingest.path", "ü" * 54, "", repr("ü" * 54)),
        ("ingest.mode", "0968", "", "'0968'"),
        ("ingest.mode", 660, "", "660"),
        ("ingest.allowed_uids", [1, -1], "[1]", "-1"),
        ("ingest.allowed_uids", [4294967295], "[0]", "4294967295"),
        ("server.tls_cert", "a\0b", "", "'a\\x00b'"),
        ("redaction.secret_keys", ["_-"], "[0]", "'_-'"),
        ("redaction.secret_keys", ["\ufc5e"], "[0]", "'\ufc5e'"),  # a blank and two accents
        ("redaction.internal_prefixes", [""], "[0]", "''"),
        ("backplane.servers", ["127.0.0.1:4222"], "[0]", "'127.0.0.1:4222'"),
        ("backplane.prefix", "a.b", "", "'a.b'"),
        ("log.level", "loud\x1b[31m", "", "'loud\\x1b[31m'"),
        ("log.format", "text", "", "'text'"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(
    key: str, value: object, where: str, shown: str
) -> None:
    """An error has the key's path (with the place in a list), the value and what is allowed."""
    rule = RULES[key].item if where else RULES[key]
    assert rule is not None

    assert problems_of(None, flags={key: value}) == [
        ConfigProblem(key + where, f"{shown} (a flag)", f"allowed is {rule.allowed}")
    ]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("backplane.kind", "nats", '"memory"'),
    ],
)
def test_what_comes_later_is_refused_with_a_clear_word(
    key: str, value: object, allowed: str
) -> None:
    """A setting that does nothing yet cannot be set, and the error says why."""
    (problem,) = problems_of(None, flags={key: value})

    assert f"allowed is {allowed} (anything else comes with a later release)" == problem.allowed
