"""The configuration: every key once, with its type, default, range and unit.

A key is one field of a section's struct. Its `Rule` in the annotation says what is allowed,
checks a value and words the error, so that nothing about a key stands in a second place;
`config.toml` shows the same keys to people, and a test compares the two.

Precedence: defaults, file, environment `SSESERVER__SECTION__KEY`, flags. Every layer is
checked in full, also where a later one overrides it, and all problems come at once.

Source: contract sections 2 and 6.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, cast, get_type_hints

import msgspec

from sseserver.errors import ConfigError, ConfigProblem

IPNetwork: TypeAlias = IPv4Network | IPv6Network

ENVIRONMENT_PREFIX: Final = "SSESERVER__"
MAX_SHOWN_CHARACTERS: Final = 60
"""How much of an offending value an error repeats: enough to find it, and one line."""

HOUR: Final = 3_600
DAY: Final = 86_400
MIB: Final = 1 << 20

# ---- rules ------------------------------------------------------------------------------


class Rule(NamedTuple):
    """What one key may hold.

    Attributes:
        allowed: Completes "allowed is ...", with range and unit.
        parse: Returns the value as the configuration keeps it, or raises `ValueError`.
        is_text: Text from the environment needs no TOML quotes.
        item: The rule of each element where the key is a list.
    """

    allowed: str
    parse: Callable[[object], object]
    is_text: bool = False
    item: "Rule | None" = None


def _whole(low: int, high: int, unit: str = "") -> Rule:
    def parse(value: object) -> int:
        if type(value) is not int or not low <= value <= high:  # a bool is no number here
            raise ValueError
        return value

    return Rule(f"an integer from {low} to {high} {unit}".rstrip(), parse)


def _number(low: float, high: float, unit: str) -> Rule:
    def parse(value: object) -> float:
        if type(value) not in {int, float} or not low <= cast("float", value) <= high:
            raise ValueError  # NaN is within no range
        return float(cast("float", value))

    return Rule(f"a number from {low} to {high} {unit}", parse)


def _seconds(high: int) -> Rule:
    # 0.05 is short enough for tests and long enough for an event loop under load.
    return _number(0.05, high, "seconds")


def _switch() -> Rule:
    def parse(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError  # noqa: TRY004 - one error for all that is not allowed
        return value

    return Rule("true or false", parse)


def _text(check: Callable[[str], object], allowed: str) -> Rule:
    """Return the rule for strings that `check` accepts by returning what is kept of them."""

    def parse(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004 - one error for all that is not allowed
        return check(value)

    return Rule(allowed, parse, is_text=True)


def _matching(pattern: str, allowed: str) -> Rule:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError
        return text

    return _text(check, allowed)


def _one_of(*words: str, note: str = "") -> Rule:
    quoted = " or ".join(f'"{word}"' for word in words)
    return _matching("|".join(map(re.escape, words)), quoted + note)


def _list_of(item: Rule) -> Rule:
    def parse(_: object) -> object:
        raise ValueError  # what is a list is taken element by element

    return Rule(f"a list, each element {item.allowed}", parse, item=item)


def _check_host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        # The last label of a name is not a number (RFC 1123 section 2.1), that of a
        # mistyped address is. Underscores are no host name's, but container networks have them.
        name = r"(?=.{1,253}$)(?:[A-Za-z0-9_-]{1,63}\.)*(?![0-9]+$)[A-Za-z0-9_-]{1,63}"
        if re.fullmatch(name, text) is None:
            raise
        return text.lower()


def _check_origin(text: str) -> str:
    """Return an origin as a browser would send it: lower case, no default port."""
    if text == "*":
        return text
    host = r"[a-z0-9._-]+|\[[0-9a-f:.]+\]"
    match = re.fullmatch(rf"([a-z][a-z0-9+.-]*)://({host})(?::([0-9]{{1,5}}))?", text.lower())
    if match is None or int(match[3] or 0) > 65_535:
        raise ValueError
    has_default_port = (match[1], int(match[3] or 0)) in {("http", 80), ("https", 443)}
    return f"{match[1]}://{match[2]}" if has_default_port else match[0]


def _check_path(text: str) -> str:
    if not text or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > 107:
        raise ValueError
    return text


_HOST: Final = _text(_check_host, "a host name or an IP address, without a port")
_HOSTS: Final = _list_of(_HOST)
_NETWORKS: Final = _list_of(
    _text(ip_network, 'a network such as "10.0.0.0/8" or "::1/128", no bits set after the prefix')
)
_ORIGINS: Final = _list_of(_text(_check_origin, '"*" or an origin such as "https://example.com"'))
_LATER: Final = "(anything else comes with a later release)"

# ---- sections ---------------------------------------------------------------------------


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, sizes and times of the HTTP side."""

    host: Annotated[str, _HOST] = "127.0.0.1"
    port: Annotated[int, _whole(0, 65_535)] = 8_080
    max_connections: Annotated[int, _whole(1, 1_000_000, "connections")] = 20_000
    header_timeout_seconds: Annotated[float, _seconds(HOUR)] = 10.0
    allowed_hosts: Annotated[tuple[str, ...], _HOSTS] = ()
    http_idle_seconds: Annotated[float, _seconds(DAY)] = 75.0
    max_header_bytes: Annotated[int, _whole(256, MIB, "bytes")] = 16_384
    max_body_bytes: Annotated[int, _whole(1, 64 * MIB, "bytes")] = 65_536
    drain_seconds: Annotated[float, _seconds(HOUR)] = 10.0
    trusted_proxies: Annotated[tuple[IPNetwork, ...], _NETWORKS] = ()
    tls_cert: Annotated[str, _matching(r"[^\0]*", 'a PEM file, or ""')] = ""
    tls_key: Annotated[str, _matching(r"[^\0]*", 'a PEM file, or ""')] = ""


class CorsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which pages of other origins may read answers."""

    allow_origins: Annotated[tuple[str, ...], _ORIGINS] = ("*",)


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who may open which stream."""

    # A token as RFC 6265 section 4.1.1 has it.
    cookie_name: Annotated[
        str, _matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", "a cookie's name, 1 to 128 characters")
    ] = "session"
    trading: Annotated[Literal["open", "session"], _one_of("open", "session")] = "open"
    protected_mode: Annotated[bool, _switch()] = True


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much one user, one address or one connection may take, and the state in all."""

    connections_per_user: Annotated[int, _whole(1, 500, "connections")] = 10
    attempts_per_minute_per_ip: Annotated[int, _whole(0, 1_000_000, "attempts")] = 5
    exempt_networks: Annotated[tuple[IPNetwork, ...], _NETWORKS] = ()
    max_symbols: Annotated[int, _whole(1, 100_000, "symbols")] = 500
    max_backlog_bytes: Annotated[int, _whole(4_096, 32 * MIB, "bytes")] = 262_144
    max_sessions: Annotated[int, _whole(1, 100_000_000, "sessions")] = 1_000_000
    max_strategies: Annotated[int, _whole(1, 10_000_000, "strategies")] = 100_000
    max_instruments: Annotated[int, _whole(1, 10_000_000, "instruments")] = 100_000
    max_orders_per_user: Annotated[int, _whole(1, 100_000, "orders")] = 500
    max_positions_per_user: Annotated[int, _whole(1, 100_000, "positions")] = 1_000
    max_keys: Annotated[int, _whole(100_000, 100_000)._replace(allowed=f"100000 {_LATER}")] = (
        100_000
    )


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How often a client hears from us, and when it comes back."""

    # At least 500 ms: Chromium takes 0 literally and reconnects 250 times a second.
    retry_ms: Annotated[int, _whole(500, 1_000 * HOUR, "milliseconds")] = 5_000
    retry_spread_ms: Annotated[int, _whole(0, 1_000 * HOUR, "milliseconds")] = 0
    keepalive_seconds: Annotated[float, _seconds(HOUR)] = 30.0
    idle_timeout_seconds: Annotated[float, _seconds(DAY)] = 300.0


class BufferConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Replay buffers: what a reconnect can still get."""

    events_per_user: Annotated[int, _whole(1, 2_000, "events")] = 100
    ttl_seconds: Annotated[float, _seconds(DAY)] = 300.0
    max_users: Annotated[int, _whole(1, 10_000_000, "users")] = 100_000
    max_bytes: Annotated[int, _whole(4_096, 1 << 40, "bytes")] = 268_435_456


class BatchingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When price updates are gathered."""

    threshold_per_second: Annotated[int, _whole(1, 1_000_000, "events a second")] = 1_000
    window_ms: Annotated[float, _number(5, 3_000, "milliseconds")] = 100.0


class CompressionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Content codings of streams."""

    encodings: Annotated[tuple[str, ...], _list_of(_one_of("zstd", "gzip"))] = ("zstd", "gzip")
    level: Annotated[int, _whole(1, 9)] = 6
    max_contexts: Annotated[int, _whole(0, 1_000_000, "contexts of 36 KiB")] = 4_096


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The Unix socket that feeds write to."""

    # sun_path holds 108 bytes with the closing NUL (unix(7)).
    path: Annotated[str, _text(_check_path, "a path of 1 to 107 bytes")] = "sseserver.sock"
    mode: Annotated[str, _matching("0?[0-7]{3}", 'an octal mode such as "0660"')] = "0660"
    max_line_bytes: Annotated[int, _whole(256, 64 * MIB, "bytes")] = 262_144
    # 2**32 - 1 is "no user" (chown(2)).
    allowed_uids: Annotated[tuple[int, ...], _list_of(_whole(0, (1 << 32) - 2))] = ()


class StateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Warm restart."""

    path: Annotated[str, _matching("", f'"" {_LATER}')] = ""
    save_seconds: Annotated[float, _seconds(DAY)] = 30.0


class RedactionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What never reaches a client."""

    # Letters and digits are all that is compared: a key of separators only would end every key.
    secret_keys: Annotated[
        tuple[str, ...], _list_of(_matching(r".*[^\W_].*", "a key with a letter or digit in it"))
    ] = (
        "api_key", "token", "access_token", "refresh_token", "secret", "password", "passphrase",
        "authorization", "cookie", "private_key", "credential",
    )  # fmt: skip
    internal_prefixes: Annotated[
        tuple[str, ...], _list_of(_matching(r".+", "a prefix of at least one character"))
    ] = ("_",)


class BackplaneConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How several nodes share their events."""

    kind: Annotated[Literal["memory"], _one_of("memory", note=f" {_LATER}")] = "memory"
    servers: Annotated[
        tuple[str, ...],
        _list_of(_matching(r"(?:nats|tls)://[^\s/]+", 'a URL such as "nats://127.0.0.1:4222"')),
    ] = ("nats://127.0.0.1:4222",)
    prefix: Annotated[str, _matching(r"[A-Za-z0-9_-]{1,64}", "1 to 64 of A-Z a-z 0-9 _ -")] = "sse"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], _one_of("debug", "info", "warning", "error")
    ] = "info"
    format: Annotated[Literal["auto", "console", "json"], _one_of("auto", "console", "json")] = (
        "auto"
    )


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All sections; a component gets its own only."""

    server: ServerConfig = ServerConfig()
    cors: CorsConfig = CorsConfig()
    auth: AuthConfig = AuthConfig()
    limits: LimitsConfig = LimitsConfig()
    stream: StreamConfig = StreamConfig()
    buffer: BufferConfig = BufferConfig()
    batching: BatchingConfig = BatchingConfig()
    compression: CompressionConfig = CompressionConfig()
    ingest: IngestConfig = IngestConfig()
    state: StateConfig = StateConfig()
    redaction: RedactionConfig = RedactionConfig()
    backplane: BackplaneConfig = BackplaneConfig()
    log: LogConfig = LogConfig()


SECTIONS: Final[Mapping[str, type[msgspec.Struct]]] = get_type_hints(Config)
RULES: Final[Mapping[str, Rule]] = {
    f"{section}.{key}": hint.__metadata__[0]
    for section, struct in SECTIONS.items()
    for key, hint in get_type_hints(struct, include_extras=True).items()
}
"""The rule of every key, by its dotted path."""

# ---- loading ----------------------------------------------------------------------------


class _Setting(NamedTuple):
    """One key that a layer sets; `origin` says where, unless it is the file."""

    path: str
    value: object
    origin: str = ""


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Config:
    """Return the configuration that all layers together make.

    Args:
        path: The TOML file; None for none.
        environ: The environment; only variables of our prefix are looked at.
        flags: Values by dotted path; None counts as not given.

    Raises:
        ConfigError: With every problem of every layer.

    Source: contract section 2.
    """
    problems: list[ConfigProblem] = []
    sections: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    settings = [
        *_file_settings(path, problems),
        *_environment_settings(environ, problems),
        *(_Setting(key, flag, " (a flag)") for key, flag in flags.items() if flag is not None),
    ]
    for setting in settings:
        found = len(problems)
        value = _parse(RULES[setting.path], setting, problems)
        if len(problems) == found:
            section, _, key = setting.path.partition(".")
            sections[section][key] = value
    built: dict[str, Any] = {key: struct(**sections[key]) for key, struct in SECTIONS.items()}
    config = Config(**built)
    if not any(problem.path.startswith("server.tls_") for problem in problems):
        problems += _tls_problems(config.server)
    if problems:
        raise ConfigError(problems)
    return config


def start_refusals(config: Config) -> tuple[ConfigProblem, ...]:
    """Return what protected mode refuses to start with; empty when it is content.

    Source: contract section 2, `auth.protected_mode`; section 6, "DNS rebinding".
    """
    if not config.auth.protected_mode or config.auth.trading != "open":
        return ()
    escape = "(or auth.protected_mode = false)"
    refusals = []
    if not _is_loopback(config.server.host):
        reason = f'"session", since server.host "{config.server.host}" is not a loopback address'
        refusals.append(ConfigProblem("auth.trading", "'open'", f"{reason} {escape}"))
    if config.server.trusted_proxies:
        reason = '"session", since server.trusted_proxies is set'
        refusals.append(ConfigProblem("auth.trading", "'open'", f"{reason} {escape}"))
    return tuple(refusals)


def _file_settings(path: Path | None, problems: list[ConfigProblem]) -> Iterator[_Setting]:
    for section, table in ({} if path is None else _read(path, problems)).items():
        if section not in SECTIONS:
            problems.append(_unknown(section, _shown(table)))
        elif not isinstance(table, dict):
            problems.append(ConfigProblem(section, _shown(table), f"a table, [{section}]"))
        else:
            for key, value in table.items():
                dotted = f"{section}.{key}"
                if dotted in RULES:
                    yield _Setting(dotted, value)
                else:
                    problems.append(_unknown(dotted, _shown(value)))


def _read(path: Path, problems: list[ConfigProblem]) -> dict[str, object]:
    try:
        text = path.read_text("utf-8")
        return tomllib.loads(text)
    except OSError as error:
        problems.append(ConfigProblem(str(path), "cannot be read", str(error.strerror)))
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, nested without end
        problems.append(ConfigProblem(str(path), "is not TOML", str(error)))
    return {}


def _environment_settings(
    environ: Mapping[str, str], problems: list[ConfigProblem]
) -> Iterator[_Setting]:
    for name, text in sorted(environ.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        origin = f" ({_shortened(_escaped(name))})"
        if path in RULES:
            yield _Setting(path, _from_text(RULES[path], text), origin)
        else:
            problems.append(_unknown(path, f"{_shown(text)}{origin}"))


def _from_text(rule: Rule, text: str) -> object:
    """Return what a variable's text means: TOML, a bare string or a list with commas."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        document = {}
    # A line break could bring in more than the one value.
    value = document["value"] if len(document) == 1 else text
    if rule.item is not None and not isinstance(value, list):
        pieces = (piece.strip() for piece in text.split(","))
        return [_from_text(rule.item, piece) for piece in pieces if piece]
    if rule.is_text and not isinstance(value, str):
        return text
    return value


def _parse(rule: Rule, setting: _Setting, problems: list[ConfigProblem]) -> object:
    if rule.item is not None and isinstance(setting.value, list):
        return tuple(
            _parse(
                rule.item, setting._replace(path=f"{setting.path}[{index}]", value=item), problems
            )
            for index, item in enumerate(setting.value)
        )
    try:
        return rule.parse(setting.value)
    except ValueError:
        shown = f"{_shown(setting.value)}{setting.origin}"
        problems.append(ConfigProblem(setting.path, shown, f"allowed is {rule.allowed}"))
        return None


def _unknown(path: str, shown: str) -> ConfigProblem:
    section, _, key = path.partition(".")
    keys = [known.partition(".")[2] for known in RULES if known.startswith(f"{section}.")]
    near = [known for known in RULES if known.endswith(f".{key or section}")]
    if keys and not near:
        near = [f"{section}.{match}" for match in difflib.get_close_matches(key, keys, n=1)]
    elif not near:
        near = difflib.get_close_matches(section, SECTIONS, n=1)
    known = (
        f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(keys or SECTIONS)}"
    )
    kind = "key" if keys else "section"
    return ConfigProblem(_shortened(_escaped(path)), shown, f"unknown {kind}; {known}")


def _tls_problems(server: ServerConfig) -> Iterator[ConfigProblem]:
    files = {"server.tls_cert": server.tls_cert, "server.tls_key": server.tls_key}
    if not any(files.values()):
        return
    for path, file in files.items():
        if not file:
            yield ConfigProblem(path, "''", "a certificate and its key are set both or neither")
        elif not _is_readable(file):
            yield ConfigProblem(path, _shown(file), "allowed is a file that can be read")


def _is_readable(file: str) -> bool:
    path = Path(file)
    try:
        if not path.is_file():  # opening a named pipe would wait for its other end
            return False
        path.open("rb").close()
    except OSError:  # not ours to read, a folder closed to us, a name too long
        return False
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False  # a name may resolve to anything
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _shown(value: object) -> str:
    try:
        return _shortened(repr(value))
    except (ValueError, RecursionError):  # hexadecimal digits or dotted keys by the thousand
        return f"a huge {type(value).__name__}"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 1]}…"


def _escaped(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
