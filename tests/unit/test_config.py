"""Tests for `sseserver.config`."""

import itertools
import tomllib
from pathlib import Path

import msgspec

from sseserver.config import RULES, Config
from sseserver.config_loading import load

CONFIG_FILE = Path(__file__).parents[2] / "config.toml"


def test_nothing_given_means_the_defaults() -> None:
    """Without a file, variables and flags the configuration is made of the defaults."""
    assert load(None, {}, {}) == Config()


def test_the_documented_file_shows_the_defaults() -> None:
    """`config.toml` loads, and every value in it is the default."""
    assert load(CONFIG_FILE, {}, {}) == Config()


def test_the_documented_file_shows_every_key() -> None:
    """`config.toml` holds exactly the keys that exist, in their order."""
    document = tomllib.loads(CONFIG_FILE.read_text())

    shown = [f"{section}.{key}" for section, table in document.items() for key in table]

    assert list(RULES) == shown


def test_the_documented_file_says_something_about_every_key() -> None:
    """Each key of `config.toml` stands below a comment, its own or its pair's."""
    lines = CONFIG_FILE.read_text().splitlines()

    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if " = " in line and not line.startswith(("#", " ")) and not above.startswith("#")
    ]

    assert bare == ['tls_key = ""']


def test_the_keys_are_those_of_the_contract() -> None:
    """Every key that the table in contract section 2 names exists, and no other."""
    names = {
        "server": "host port max_connections header_timeout_seconds allowed_hosts "
        "http_idle_seconds max_header_bytes max_body_bytes drain_seconds trusted_proxies "
        "tls_cert tls_key",
        "cors": "allow_origins",
        "auth": "cookie_name trading protected_mode",
        "limits": "connections_per_user attempts_per_minute_per_ip exempt_networks max_symbols "
        "max_backlog_bytes max_sessions max_strategies max_instruments max_orders_per_user "
        "max_positions_per_user max_keys",
        "stream": "retry_ms retry_spread_ms keepalive_seconds idle_timeout_seconds",
        "buffer": "events_per_user ttl_seconds max_users max_bytes",
        "batching": "threshold_per_second window_ms",
        "compression": "encodings level max_contexts",
        "ingest": "path mode max_line_bytes allowed_uids",
        "state": "path save_seconds",
        "redaction": "secret_keys internal_prefixes",
        "backplane": "kind servers prefix",
        "log": "level format",
    }

    expected = {f"{section}.{key}" for section, keys in names.items() for key in keys.split()}

    assert expected == set(RULES)


def test_the_defaults_are_those_of_the_contract() -> None:
    """Defaults are what the table in contract section 2 says, as its example file has them."""
    assert msgspec.to_builtins(load(None, {}, {})) == {
        "server": {
            "host": "127.0.0.1",
            "port": 8080,
            "max_connections": 20000,
            "header_timeout_seconds": 10.0,
            "allowed_hosts": (),
            "http_idle_seconds": 75.0,
            "max_header_bytes": 16384,
            "max_body_bytes": 65536,
            "drain_seconds": 10.0,
            "trusted_proxies": (),
            "tls_cert": "",
            "tls_key": "",
        },
        "cors": {"allow_origins": ("*",)},
        "auth": {"cookie_name": "session", "trading": "open", "protected_mode": True},
        "limits": {
            "connections_per_user": 10,
            "attempts_per_minute_per_ip": 5,
            "exempt_networks": (),
            "max_symbols": 500,
            "max_backlog_bytes": 262144,
            "max_sessions": 1000000,
            "max_strategies": 100000,
            "max_instruments": 100000,
            "max_orders_per_user": 500,
            "max_positions_per_user": 1000,
            "max_keys": 100000,
        },
        "stream": {
            "retry_ms": 5000,
            "retry_spread_ms": 0,
            "keepalive_seconds": 30.0,
            "idle_timeout_seconds": 300.0,
        },
        "buffer": {
            "events_per_user": 100,
            "ttl_seconds": 300.0,
            "max_users": 100000,
            "max_bytes": 268435456,
        },
        "batching": {"threshold_per_second": 1000, "window_ms": 100.0},
        "compression": {"encodings": ("zstd", "gzip"), "level": 6, "max_contexts": 4096},
        "ingest": {
            "path": "sseserver.sock",
            "mode": "0660",
            "max_line_bytes": 262144,
            "allowed_uids": (),
        },
        "state": {"path": "", "save_seconds": 30.0},
        "redaction": {
            "secret_keys": (
                "api_key",
                "token",
                "access_token",
                "refresh_token",
                "secret",
                "password",
                "passphrase",
                "authorization",
                "cookie",
                "private_key",
                "credential",
            ),
            "internal_prefixes": ("_",),
        },
        "backplane": {"kind": "memory", "servers": ("nats://127.0.0.1:4222",), "prefix": "sse"},
        "log": {"level": "info", "format": "auto"},
    }
