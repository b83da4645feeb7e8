"""Installs what the peers need, apart from our own environment, from the locks beside this file.

Everything goes to `bench/build/`: a virtual environment for the Python peers, a `node_modules`
for the Node peers, and the compiled C program. Each is made on first use and again when its
lock or source has changed. Where packages come from is the machine's affair: no lock names an
address.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from bench.peers.peer import PeerMissingError

_HERE: Final = Path(__file__).parent
_BUILD: Final = _HERE.parent / "build"
_PYTHON_LOCK: Final = _HERE / "requirements.lock"
_NODE_LOCK: Final = _HERE / "package-lock.json"
_QUIET_NPM: Final = (
    *("--no-audit", "--no-fund", "--no-update-notifier"),
    *("--ignore-scripts", "--loglevel=error"),
)

SERVERS: Final = _HERE / "servers"


@cache
def python() -> str:
    """Return the interpreter of the Python peers' environment.

    Raises:
        PeerMissingError: Their packages could not be installed.
    """
    folder = _BUILD / "peers-python"
    interpreter = folder / "bin" / "python"
    digest = _digest(_PYTHON_LOCK.read_bytes(), sys.version.encode())
    if not _is_installed(folder, digest):
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        _run(
            "the Python peers",
            [
                *(str(interpreter), "-m", "pip", "--disable-pip-version-check", "-qq"),
                *("install", "--require-hashes", "-r", str(_PYTHON_LOCK)),
            ],
        )
        _mark_installed(folder, digest)
    return str(interpreter)


@cache
def node() -> tuple[str, Mapping[str, str]]:
    """Return Node.js and the environment in which `require` finds the Node peers' packages.

    Raises:
        PeerMissingError: Node.js or npm is not here, or the packages could not be installed.
    """
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise PeerMissingError("Node.js and npm are needed (Debian packages nodejs and npm)")
    folder = _BUILD / "peers-node"
    digest = _digest(_NODE_LOCK.read_bytes())
    if not _is_installed(folder, digest):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, folder)
        _run("the Node peers", [npm, "ci", *_QUIET_NPM], folder)
        _mark_installed(folder, digest)
    return program, {"NODE_PATH": str(folder / "node_modules"), "NODE_ENV": "production"}


@cache
def compiled(source: str) -> str:
    """Return the program compiled from one C file of `servers/`.

    Raises:
        PeerMissingError: No C compiler is here, or it failed.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise PeerMissingError("a C compiler is needed (Debian packages gcc and libc6-dev)")
    path = SERVERS / source
    flags = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
    program = _BUILD / f"{path.stem}-{_digest(path.read_bytes(), *map(str.encode, flags))}"
    if not program.exists():
        _BUILD.mkdir(exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        _run(source, [compiler, *flags, "-o", str(unfinished), str(path)])
        unfinished.rename(program)
    return str(program)


@cache
def python_version(package: str) -> str:
    """Return the locked version of a Python package."""
    lock = _PYTHON_LOCK.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==(\S+)", lock, re.MULTILINE)
    assert found, f"{package} is not in the lock"
    return found[1]


@cache
def node_version(package: str) -> str:
    """Return the locked version of a Node package."""
    lock = json.loads(_NODE_LOCK.read_bytes())
    return str(lock["packages"][f"node_modules/{package}"]["version"])


@cache
def node_runtime_version() -> str:
    """Return the version of Node.js itself."""
    program, _ = node()
    printed = subprocess.run([program, "--version"], capture_output=True, check=True, text=True)
    return printed.stdout.strip().removeprefix("v")


def write_locks(*, upgrade: bool) -> None:
    """Write both locks anew: with the newest versions, or only what is missing in them."""
    compile_ = [
        *(sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes"),
        *("--allow-unsafe", "--strip-extras", "--no-emit-index-url", "--no-emit-find-links"),
        *("--no-emit-trusted-host", "--no-emit-options", "--output-file", _PYTHON_LOCK.name),
        *(["--upgrade"] if upgrade else []),
        "requirements.in",
    ]
    words = {"CUSTOM_COMPILE_COMMAND": "python -m bench.peers --lock"}
    _run("the Python lock", compile_, _HERE, words)
    verb = ["update"] if upgrade else ["install"]
    npm = ["npm", *verb, "--package-lock-only", "--omit-lockfile-registry-resolved", *_QUIET_NPM]
    _run("the Node lock", npm, _HERE)
    lock = json.loads(_NODE_LOCK.read_text(encoding="utf-8"))
    for package in lock["packages"].values():
        package.pop("funding", None)  # an address that a lock needs nowhere
    _NODE_LOCK.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _is_installed(folder: Path, digest: str) -> bool:
    stamp = folder / ".installed"
    return stamp.exists() and stamp.read_text(encoding="ascii") == digest


def _mark_installed(folder: Path, digest: str) -> None:
    (folder / ".installed").write_text(digest, encoding="ascii")


def _run(
    what: str,
    command: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run one step of an installation and say in plain words what failed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise PeerMissingError(f"{what} could not be set up:\n{done.stdout}{done.stderr}".strip())
