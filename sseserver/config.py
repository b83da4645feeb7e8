"""The configuration: every key once, with its type, default, range and unit.

A key is one field of a section's struct. Its `Rule` in the annotation says what is allowed,
checks a value and words the error, so that nothing about a key stands in a second place;
`config.toml` shows the same keys to people, and a test compares the two. Reading it is
`config_loading`.

Source: contract sections 2 and 6.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Final, Literal, TypeAlias, get_type_hints

import msgspec

from sseserver.config_rules import (
    HOST,
    HOSTS,
    LATER,
    NETWORKS,
    ORIGINS,
    Rule,
    check_path,
    check_secret_key,
    list_of,
    matching,
    number,
    one_of,
    seconds,
    switch,
    text,
    whole,
)

IPNetwork: TypeAlias = IPv4Network | IPv6Network

HOUR: Final = 3_600
DAY: Final = 86_400
MIB: Final = 1 << 20


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, sizes and times of the HTTP side."""

    host: Annotated[str, HOST] = "127.0.0.1"
    port: Annotated[int, whole(0, 65_535)] = 8_080
    max_connections: Annotated[int, whole(1, 1_000_000, "connections")] = 20_000
    header_timeout_seconds: Annotated[float, seconds(HOUR)] = 10.0
    allowed_hosts: Annotated[tuple[str, ...], HOSTS] = ()
    http_idle_seconds: Annotated[float, seconds(DAY)] = 75.0
    max_header_bytes: Annotated[int, whole(256, MIB, "bytes")] = 16_384
    max_body_bytes: Annotated[int, whole(1, 64 * MIB, "bytes")] = 65_536
    drain_seconds: Annotated[float, seconds(HOUR)] = 10.0
    trusted_proxies: Annotated[tuple[IPNetwork, ...], NETWORKS] = ()
    tls_cert: Annotated[str, matching(r"[^\0]*", 'a PEM file, or ""')] = ""
    tls_key: Annotated[str, matching(r"[^\0]*", 'a PEM file, or ""')] = ""


class CorsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which pages of other origins may read answers."""

    allow_origins: Annotated[tuple[str, ...], ORIGINS] = ("*",)


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who may open which stream."""

    # A token as RFC 6265 section 4.1.1 has it.
    cookie_name: Annotated[
        str, matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", "a cookie's name, 1 to 128 characters")
    ] = "session"
    trading: Annotated[Literal["open", "session"], one_of("open", "session")] = "open"
    protected_mode: Annotated[bool, switch()] = True


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much one user, one address or one connection may take, and the state in all."""

    connections_per_user: Annotated[int, whole(1, 500, "connections")] = 10
    attempts_per_minute_per_ip: Annotated[int, whole(0, 1_000_000, "attempts")] = 5
    exempt_networks: Annotated[tuple[IPNetwork, ...], NETWORKS] = ()
    max_symbols: Annotated[int, whole(1, 100_000, "symbols")] = 500
    max_backlog_bytes: Annotated[int, whole(4_096, 32 * MIB, "bytes")] = 262_144
    max_sessions: Annotated[int, whole(1, 100_000_000, "sessions")] = 1_000_000
    max_strategies: Annotated[int, whole(1, 10_000_000, "strategies")] = 100_000
    max_instruments: Annotated[int, whole(1, 10_000_000, "instruments")] = 100_000
    max_orders_per_user: Annotated[int, whole(1, 100_000, "orders")] = 500
    max_positions_per_user: Annotated[int, whole(1, 100_000, "positions")] = 1_000
    max_keys: Annotated[int, whole(1, 10_000_000, "keys")] = 100_000


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How often a client hears from us, and when it comes back."""

    # At least 500 ms: Chromium takes 0 literally and reconnects 250 times a second.
    retry_ms: Annotated[int, whole(500, 1_000 * HOUR, "milliseconds")] = 5_000
    retry_spread_ms: Annotated[int, whole(0, 1_000 * HOUR, "milliseconds")] = 0
    keepalive_seconds: Annotated[float, seconds(HOUR)] = 30.0
    idle_timeout_seconds: Annotated[float, seconds(DAY)] = 300.0


class BufferConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Replay buffers: what a reconnect can still get."""

    events_per_user: Annotated[int, whole(1, 2_000, "events")] = 100
    ttl_seconds: Annotated[float, seconds(DAY)] = 300.0
    max_users: Annotated[int, whole(1, 10_000_000, "users")] = 100_000
    max_bytes: Annotated[int, whole(4_096, 1 << 40, "bytes")] = 268_435_456


class BatchingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When price updates are gathered."""

    threshold_per_second: Annotated[int, whole(1, 1_000_000, "events a second")] = 1_000
    # Below 100 a client gets more than 10 batched writes a second: an operator's word wins.
    window_ms: Annotated[float, number(5, 3_000, "milliseconds")] = 100.0


class CompressionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Content codings of streams."""

    encodings: Annotated[tuple[str, ...], list_of(one_of("zstd", "gzip"))] = ("zstd", "gzip")
    level: Annotated[int, whole(1, 9)] = 6
    max_contexts: Annotated[int, whole(0, 1_000_000, "contexts of 36 KiB")] = 4_096


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The Unix socket that feeds write to."""

    # sun_path holds 108 bytes with the closing NUL (unix(7)).
    path: Annotated[str, text(check_path, "a path of 1 to 107 bytes")] = "sseserver.sock"
    mode: Annotated[str, matching("0?[0-7]{3}", 'an octal mode such as "0660"')] = "0660"
    max_line_bytes: Annotated[int, whole(256, 64 * MIB, "bytes")] = 262_144
    # 2**32 - 1 is "no user" (chown(2)).
    allowed_uids: Annotated[tuple[int, ...], list_of(whole(0, (1 << 32) - 2))] = ()


class StateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Warm restart."""

    path: Annotated[str, matching(r"[^\0]*", 'a file, or ""')] = ""
    save_seconds: Annotated[float, seconds(DAY)] = 30.0


class RedactionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What never reaches a client."""

    secret_keys: Annotated[
        tuple[str, ...], list_of(text(check_secret_key, "a key with a letter or digit in it"))
    ] = (
        "api_key", "token", "access_token", "refresh_token", "secret", "password", "passphrase",
        "authorization", "cookie", "private_key", "credential",
    )  # fmt: skip
    internal_prefixes: Annotated[
        tuple[str, ...], list_of(matching(r".+", "a prefix of at least one character"))
    ] = ("_",)


class BackplaneConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How several nodes share their events."""

    kind: Annotated[Literal["memory"], one_of("memory", note=f" {LATER}")] = "memory"
    servers: Annotated[
        tuple[str, ...],
        list_of(matching(r"(?:nats|tls)://[^\s/]+", 'a URL such as "nats://127.0.0.1:4222"')),
    ] = ("nats://127.0.0.1:4222",)
    prefix: Annotated[str, matching(r"[A-Za-z0-9_-]{1,64}", "1 to 64 of A-Z a-z 0-9 _ -")] = "sse"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], one_of("debug", "info", "warning", "error")
    ] = "info"
    format: Annotated[Literal["auto", "console", "json"], one_of("auto", "console", "json")] = (
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
