"""Configurations for tests: files, values that layers make, and why they are refused."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sseserver.config_loading import load
from sseserver.errors import ConfigError, ConfigProblem


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
