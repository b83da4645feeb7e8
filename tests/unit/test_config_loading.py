"""Tests for `sseserver.config_loading`."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from sseserver.config import SECTIONS, AuthConfig, Config, ServerConfig
from sseserver.config_loading import MAX_SHOWN_CHARACTERS, load, start_refusals
from sseserver.errors import ConfigError, ConfigProblem
from tests.support.configuration import problems_of, value_of, write

CONFIG_FILE = Path(__file__).parents[2] / "config.toml"


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
            "true",
            "unknown key; known: cookie_name, trading, protected_mode",
        ),
        ("port = 1", "port", "1", "unknown section; did you mean server.port?"),
        ("[limit]\na = 1", "limit", "a table", "unknown section; did you mean limits?"),
        (
            "[[limit]]\na = 1",
            "limit",
            "a list of tables",
            "unknown section; did you mean limits?",
        ),
        (
            "[xyz]",
            "xyz",
            "a table",
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
        pytest.param(f"[server]\nport.{'a.' * 5000}a = 1", "a table", id="table"),
        pytest.param(f"[server]\nport = [1, {{{'a.' * 5000}a = 1}}]", "a huge list", id="list"),
    ],
)
def test_a_value_that_cannot_be_printed_is_described(tmp_path: Path, text: str, shown: str) -> None:
    """A number or a table beyond what Python prints is a problem like any other."""
    assert problems_of(write(tmp_path, text)) == [
        ConfigProblem("server.port", shown, "allowed is an integer from 0 to 65535")
    ]


@pytest.mark.parametrize(
    ("toml", "shown"),
    [
        ("false", "false"),
        ("1979-05-27", "1979-05-27"),
        ("07:32:00", "07:32:00"),
        ("1979-05-27T07:32:00Z", "1979-05-27T07:32:00+00:00"),
        ("[]", "[]"),
        ("{a = 1}", "a table"),
    ],
)
def test_a_value_is_shown_as_in_the_file(tmp_path: Path, toml: str, shown: str) -> None:
    """What is wrong is named as the file has it, not as Python would write it."""
    (problem,) = problems_of(write(tmp_path, f"[server]\nport = {toml}"))

    assert problem.value == shown


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
            f'"session", as others reach server.host "{host}" (or auth.protected_mode = false)',
        ),
    )


def test_protected_mode_refuses_open_trading_behind_proxies() -> None:
    """With trusted proxies the peer is not the client, wherever we listen."""
    config = Config(server=ServerConfig(trusted_proxies=(ip_network("10.0.0.0/8"),)))

    assert start_refusals(config) == (
        ConfigProblem(
            "auth.trading",
            "'open'",
            '"session", as server.trusted_proxies is set (or auth.protected_mode = false)',
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
