"""Reading the configuration: defaults, file, environment `SSESERVER__SECTION__KEY`, flags.

Every layer is checked in full, also where a later one overrides it, and all problems come at
once, each with its key, the value and what is allowed.

Source: contract section 2.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, time
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

from sseserver.config import RULES, SECTIONS, Config, ServerConfig
from sseserver.config_rules import Rule
from sseserver.errors import ConfigError, ConfigProblem

ENVIRONMENT_PREFIX: Final = "SSESERVER__"
MAX_SHOWN_CHARACTERS: Final = 60
"""How much of an offending value an error repeats: enough to find it, and one line."""


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
        reason = f'"session", as others reach server.host "{config.server.host}"'
        refusals.append(ConfigProblem("auth.trading", "'open'", f"{reason} {escape}"))
    if config.server.trusted_proxies:
        reason = '"session", as server.trusted_proxies is set'
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
    """Return a value as its TOML would show it, in one short line; tables only by their kind."""
    match value:
        case dict():
            return "a table"
        case [dict(), *_]:
            return "a list of tables"
        case bool():
            return str(value).lower()
        case date() | time():
            return value.isoformat()
        case _:
            pass
    try:
        return _shortened(repr(value))
    except (ValueError, RecursionError):  # hexadecimal digits or dotted keys by the thousand
        return f"a huge {type(value).__name__}"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 1]}…"


def _escaped(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
