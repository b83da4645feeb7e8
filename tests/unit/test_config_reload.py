"""Tests of `sseserver.config_reload`."""

from sseserver.config_reload import fixed_changes, with_fixed
from tests.support.core import configured


def test_what_can_change_needs_no_restart() -> None:
    """Neither timings nor limits, nor a file that says the same as before."""
    old, new = configured(), configured({"stream.retry_ms": 700, "limits.max_symbols": 3})

    assert [] == fixed_changes(old, new)
    assert new == with_fixed(old, new)


def test_what_needs_a_restart_is_named_and_kept() -> None:
    """Everything else is taken."""
    old = configured()
    new = configured(
        {"server.port": 9, "buffer.max_users": 7, "log.format": "json", "log.level": "debug"}
    )
    kept = with_fixed(old, new)

    assert ["server.port", "buffer.max_users", "log.format"] == fixed_changes(old, new)
    assert configured({"log.level": "debug"}) == kept
