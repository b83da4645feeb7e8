"""What a running server takes of a configuration that was read again (SIGHUP)."""

from typing import Final

import msgspec

from sseserver.config import Config

_FIXED_KEYS: Final = (
    ("server", "host"),
    ("server", "port"),
    ("server", "tls_cert"),
    ("server", "tls_key"),
    ("ingest", "path"),
    ("ingest", "mode"),
    ("limits", "max_sessions"),
    ("limits", "max_strategies"),
    ("limits", "max_instruments"),
    ("limits", "max_orders_per_user"),
    ("limits", "max_positions_per_user"),
    ("limits", "max_keys"),
    ("buffer", "max_users"),  # bounds the state as well
    ("backplane", "kind"),
    ("backplane", "servers"),
    ("backplane", "prefix"),
    ("state", "path"),
    ("state", "save_seconds"),
    ("log", "format"),
)
"""What a running server cannot change."""


def fixed_changes(old: Config, new: Config) -> list[str]:
    """Return the keys that differ and need a restart."""
    return [
        f"{section}.{key}"
        for section, key in _FIXED_KEYS
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]


def with_fixed(old: Config, new: Config) -> Config:
    """Return the new configuration with the fixed keys as they were."""
    for section, key in _FIXED_KEYS:
        kept = msgspec.structs.replace(
            getattr(new, section), **{key: getattr(getattr(old, section), key)}
        )
        new = msgspec.structs.replace(new, **{section: kept})
    return new
