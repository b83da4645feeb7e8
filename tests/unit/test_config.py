"""Tests for `sseserver.config`."""

import itertools
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from sseserver.config import (
    MAX_SHOWN_CHARACTERS,
    RULES,
    SECTIONS,
    AuthConfig,
    Config,
    ServerConfig,
    load,
    start_refusals,
)
from sseserver.errors import ConfigError, ConfigProblem

CONFIG_FILE = Path(__file__).parents[2] / "config.toml"


def write(folder: Path, text: str) -> Path:
    """Return a configuration file that holds `text`."""
    path = folder / "sseserver.toml"
    path.write_text(text)
    return path


def value_of(
    key: str,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> object:
    """Return what the layers together make of one dotted key."""
    value: object = load(path, environ or {}, flags or {})
    for part in key.split("."):
        value = getattr(value, part)
    return value


def problems_of(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> list[ConfigProblem]:
    """Return why the layers are refused."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, flags or {})
    return list(caught.value.problems)


# ---- the documented file ----------------------------------------------------------------


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


# ---- precedence -------------------------------------------------------------------------


def test_a_file_beats_the_defaults(tmp_path: Path) -> None:
    """What a file sets holds, and what it leaves out stays at the default."""
    config = load(write(tmp_path, "[server]\nport = 9000"), {}, {})

    assert (9000, "127.0.0.1") == (config.server.port, config.server.host)


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    """A variable overrides the file."""
    path = write(tmp_path, "[server]\nport = 9000")

    assert value_of("server.port", path, {"SSESERVER__SERVER__PORT": "9001"}) == 9001


def test_a_flag_beats_the_environment() -> None:
    """A flag overrides a variable."""
    environ = {"SSESERVER__SERVER__PORT": "9001"}

    assert value_of("server.port", None, environ, {"server.port": 9002}) == 9002


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    """None stands for a flag that is absent."""
    assert value_of("server.port", flags={"server.port": None}) == 8080


def test_a_bad_value_is_reported_even_where_it_is_overridden(tmp_path: Path) -> None:
    """Each layer is checked in full, so that a file does not rot behind a flag."""
    path = write(tmp_path, "[server]\nport = 70000")

    assert problems_of(path, flags={"server.port": 1}) == [
        ConfigProblem("server.port", "70000", "allowed is an integer from 0 to 65535")
    ]


# ---- values -----------------------------------------------------------------------------


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
        ("server.port", True, "", "True"),
        ("server.port", 80.0, "", "80.0"),
        ("server.port", "80", "", "'80'"),
        ("server.port", {"a": 1}, "", "{'a': 1}"),
        ("server.drain_seconds", float("nan"), "", "nan"),
        ("server.drain_seconds", float("inf"), "", "inf"),
        ("server.drain_seconds", True, "", "True"),
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
        ("state.path", "state.zst", '""'),
        ("backplane.kind", "nats", '"memory"'),
        ("limits.max_keys", 5, "100000"),
    ],
)
def test_what_comes_later_is_refused_with_a_clear_word(
    key: str, value: object, allowed: str
) -> None:
    """A setting that does nothing yet cannot be set, and the error says why."""
    (problem,) = problems_of(None, flags={key: value})

    assert f"allowed is {allowed} (anything else comes with a later release)" == problem.allowed


# ---- problems ---------------------------------------------------------------------------


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """One error holds what is wrong in every section, in variables and in flags."""
    path = write(
        tmp_path,
        """
        [server]
        port = -1
        prot = 80
        [stream]
        retry_ms = 0
        [srever]
        """,
    )

    problems = problems_of(path, {"SSESERVER__LOG__LEVEL": "loud"}, {"auth.trading": "shut"})

    assert {problem.path for problem in problems} == {
        "server.port",
        "server.prot",
        "stream.retry_ms",
        "srever",
        "log.level",
        "auth.trading",
    }


def test_all_elements_of_a_list_are_checked() -> None:
    """Each wrong element of a list is a problem of its own."""
    problems = problems_of(None, flags={"ingest.allowed_uids": [-1, 5, "x"]})

    assert [problem.path for problem in problems] == [
        "ingest.allowed_uids[0]",
        "ingest.allowed_uids[2]",
    ]


def test_the_text_of_the_error_is_one_line_a_problem() -> None:
    """The exception prints as path, value and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {"compression.level": 10, "batching.window_ms": 4})

    assert str(caught.value).splitlines() == [
        "compression.level: 10 (a flag): allowed is an integer from 1 to 9",
        "batching.window_ms: 4 (a flag): allowed is a number from 5 to 3000 milliseconds",
    ]


@pytest.mark.parametrize(
    ("text", "path", "shown", "word"),
    [
        ("[server]\nprot = 1", "server.prot", "1", "unknown key; did you mean server.port?"),
        (
            "[server]\nkeepalive_seconds = 1",
            "server.keepalive_seconds",
            "1",
            "unknown key; did you mean stream.keepalive_seconds?",
        ),
        (
            "[cors]\nlevel = 1",
            "cors.level",
            "1",
            "unknown key; did you mean compression.level or log.level?",
        ),
        (
            "[auth]\nxyz = true",
            "auth.xyz",
            "True",
            "unknown key; known: cookie_name, trading, protected_mode",
        ),
        ("port = 1", "port", "1", "unknown section; did you mean server.port?"),
        ("[limit]\na = 1", "limit", "{'a': 1}", "unknown section; did you mean limits?"),
        (
            "[xyz]",
            "xyz",
            "{}",
            f"unknown section; known: {', '.join(SECTIONS)}",
        ),
        (
            '[auth]\n"x\\ny\\u001b" = 1',
            r"auth.x\ny\x1b",
            "1",
            "unknown key; known: cookie_name, trading, protected_mode",
        ),
        ("server = 5", "server", "5", "a table, [server]"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_near(
    tmp_path: Path, text: str, path: str, shown: str, word: str
) -> None:
    """An unknown key or section comes with the one that was probably meant."""
    assert problems_of(write(tmp_path, text)) == [ConfigProblem(path, shown, word)]


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    """An error repeats the beginning of a value, not all of it."""
    path = write(tmp_path, f'[log]\nlevel = "{"x" * 1000}"')

    (problem,) = problems_of(path)

    assert f"'{'x' * (MAX_SHOWN_CHARACTERS - 2)}…" == problem.value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(f"[server]\nport = 0x{'f' * 5000}", "a huge int", id="int"),
        pytest.param(f"[server]\nport.{'a.' * 5000}a = 1", "a huge dict", id="table"),
    ],
)
def test_a_value_that_cannot_be_printed_is_described(tmp_path: Path, text: str, shown: str) -> None:
    """A number or a table beyond what Python prints is a problem like any other."""
    assert problems_of(write(tmp_path, text)) == [
        ConfigProblem("server.port", shown, "allowed is an integer from 0 to 65535")
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"[server]\nport 8080\n", "(at line 2, column 6)"),
        (b"a = [", "(at end of document)"),
        (b"[server]\nhost = '\xff'\n", "can't decode byte 0xff in position 17"),
        pytest.param(b"a = " + b"[" * 100_000, "recursion", id="nested"),
    ],
)
def test_a_file_that_is_not_toml_is_named_with_the_place(
    tmp_path: Path, text: bytes, word: str
) -> None:
    """A syntax error has the file and the line."""
    path = tmp_path / "broken.toml"
    path.write_bytes(text)

    (problem,) = problems_of(path)

    assert (str(path), "is not TOML") == problem[:2]
    assert word in problem.allowed


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file is a problem, not a traceback."""
    path = tmp_path / "missing.toml"

    assert problems_of(path) == [
        ConfigProblem(str(path), "cannot be read", "No such file or directory")
    ]


# ---- environment ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("server.port", "9000", 9000),
        ("server.drain_seconds", "0.2", 0.2),
        ("auth.protected_mode", "false", False),
        ("server.host", "::1", "::1"),
        ("server.host", '"::1"', "::1"),
        ("auth.cookie_name", "true", "true"),
        ("ingest.mode", "660", "660"),
        ("ingest.mode", "0660", "0660"),
        ("state.path", "", ""),
        ("compression.encodings", '["gzip"]', ("gzip",)),
        ("compression.encodings", "gzip, zstd", ("gzip", "zstd")),
        ("compression.encodings", "gzip", ("gzip",)),
        ("compression.encodings", "", ()),
        ("redaction.secret_keys", '"pin"', ("pin",)),
        ("redaction.secret_keys", "1,true", ("1", "true")),
        ("ingest.allowed_uids", "1000,1001", (1000, 1001)),
        ("ingest.allowed_uids", "1000", (1000,)),
        ("limits.exempt_networks", "127.0.0.0/8", (ip_network("127.0.0.0/8"),)),
    ],
)
def test_a_variable_is_toml_or_plain_text(key: str, text: str, value: object) -> None:
    """Variables hold TOML; strings need no quotes, and lists may be written with commas."""
    name = f"SSESERVER__{key.upper().replace('.', '__')}"

    assert value == value_of(key, environ={name: text})


@pytest.mark.parametrize(
    "text",
    ["abc", "1\n[server]\nhost = 'x'", pytest.param("[" * 100_000, id="nested"), "'80'", ""],
)
def test_a_variable_of_the_wrong_type_is_named(text: str) -> None:
    """An error in the environment names the variable beside the key."""
    (problem,) = problems_of(None, {"SSESERVER__SERVER__PORT": text})

    assert problem.path == "server.port"
    assert problem.value.endswith(" (SSESERVER__SERVER__PORT)")


@pytest.mark.parametrize(
    ("name", "path", "word"),
    [
        ("SSESERVER__SERVER__PROT", "server.prot", "unknown key; did you mean server.port?"),
        ("SSESERVER__LIMIT__A", "limit.a", "unknown section; did you mean limits?"),
        ("SSESERVER__PORT", "port", "unknown section; did you mean server.port?"),
        (
            "SSESERVER__AUTH",
            "auth",
            "unknown key; known: cookie_name, trading, protected_mode",
        ),
    ],
)
def test_a_variable_that_sets_nothing_is_an_error(name: str, path: str, word: str) -> None:
    """A misspelt variable of our prefix is not passed over in silence."""
    assert problems_of(None, {name: "1"}) == [ConfigProblem(path, f"'1' ({name})", word)]


def test_other_variables_are_none_of_our_business() -> None:
    """Only names with the prefix and two underscores are looked at."""
    environ = {"PATH": "/bin", "SSESERVER_PORT": "x", "XSSESERVER__A__B": "1"}

    assert load(None, environ, {}) == Config()


# ---- TLS --------------------------------------------------------------------------------


def test_tls_with_two_readable_files_is_accepted(tmp_path: Path) -> None:
    """Certificate and key are kept as they were given."""
    file = str(write(tmp_path, "PEM"))

    config = load(None, {}, {"server.tls_cert": file, "server.tls_key": file})

    assert (file, file) == (config.server.tls_cert, config.server.tls_key)


@pytest.mark.parametrize(
    ("given", "lacking"),
    [("server.tls_cert", "server.tls_key"), ("server.tls_key", "server.tls_cert")],
)
def test_tls_needs_both_files(tmp_path: Path, given: str, lacking: str) -> None:
    """A certificate without its key, or the other way round, is an error at the missing one."""
    assert problems_of(None, flags={given: str(write(tmp_path, "PEM"))}) == [
        ConfigProblem(lacking, "''", "a certificate and its key are set both or neither")
    ]


@pytest.mark.parametrize("name", ["missing.pem", ".", pytest.param("x" * 300, id="long")])
def test_tls_files_must_be_readable(tmp_path: Path, name: str) -> None:
    """What is missing, is a folder or has an impossible name is reported before the start."""
    file = write(tmp_path, "PEM")

    problems = problems_of(
        None, flags={"server.tls_cert": str(file), "server.tls_key": str(tmp_path / name)}
    )

    assert [("server.tls_key", "allowed is a file that can be read")] == [
        (problem.path, problem.allowed) for problem in problems
    ]


def test_a_tls_key_of_the_wrong_type_is_reported_once() -> None:
    """A value that is no text at all does not count as missing as well."""
    problems = problems_of(None, flags={"server.tls_cert": 5, "server.tls_key": "key.pem"})

    assert ["server.tls_cert"] == [problem.path for problem in problems]


# ---- protected mode ---------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_protected_mode_allows_open_trading_on_loopback(host: str) -> None:
    """On an address that only this machine reaches, the defaults start."""
    assert start_refusals(Config(server=ServerConfig(host=host))) == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "::ffff:10.0.0.1"])
def test_protected_mode_refuses_open_trading_where_others_reach_it(host: str) -> None:
    """An address that is not loopback (a name may be any) needs sessions for trading."""
    assert start_refusals(Config(server=ServerConfig(host=host))) == (
        ConfigProblem(
            "auth.trading",
            "'open'",
            f'"session", since server.host "{host}" is not a loopback address '
            "(or auth.protected_mode = false)",
        ),
    )


def test_protected_mode_refuses_open_trading_behind_proxies() -> None:
    """With trusted proxies the peer is not the client, wherever we listen."""
    config = Config(server=ServerConfig(trusted_proxies=(ip_network("10.0.0.0/8"),)))

    assert start_refusals(config) == (
        ConfigProblem(
            "auth.trading",
            "'open'",
            '"session", since server.trusted_proxies is set (or auth.protected_mode = false)',
        ),
    )


def test_protected_mode_names_both_reasons() -> None:
    """Everything that stands in the way of a start is said at once."""
    server = ServerConfig(host="::", trusted_proxies=(ip_network("10.0.0.0/8"),))

    assert len(start_refusals(Config(server=server))) == 2


@pytest.mark.parametrize("auth", [AuthConfig(trading="session"), AuthConfig(protected_mode=False)])
def test_protected_mode_is_content_with_sessions_or_when_it_is_off(auth: AuthConfig) -> None:
    """Trading with sessions is safe anywhere, and who turns the mode off knows better."""
    server = ServerConfig(host="0.0.0.0", trusted_proxies=(ip_network("10.0.0.0/8"),))

    assert start_refusals(Config(server=server, auth=auth)) == ()
