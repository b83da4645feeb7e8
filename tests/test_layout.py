"""The rules of the tree itself: twins, imports, and packaging that works on any machine.

Each rule is checked twice: on this tree, where it must hold, and on a small made-up one that
breaks it, where it must not.
"""

import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

import sseserver

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

PACKAGING = (
    ".ci/run",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    "Makefile",
    "bench/peers/package-lock.json",
    "bench/peers/package.json",
    "bench/peers/requirements.in",
    "bench/peers/requirements.lock",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
    "tests/node/package-lock.json",
    "tests/node/package.json",
)

ADDRESS = re.compile(
    r"""
      ://                                                      # any URL
    | --(?:extra-)?index-url | --find-links | --trusted-host  # pip's options
    | "resolved"                                               # npm's download address
    | (?<![\w.-])(?!(?:sseserver|tests)\.)                     # a bare host name, and no module's
      (?:[a-z0-9-]+\.)+(?:com|dev|io|net|org)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def modules_without_twin(root: Path) -> list[str]:
    """Return the modules of `root` whose unit test file is missing or holds no test."""
    lacking = []
    for module in sorted((root / "sseserver").rglob("*.py")):
        path = module.relative_to(root / "sseserver")
        twin = root / "tests/unit" / path.with_name(f"test_{path.name}")
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        if not twin.exists() or "def test_" not in twin.read_text():
            lacking.append(path.as_posix())
    return lacking


def lint_imports(root: Path) -> tuple[int, str]:
    """Return exit code and output of import-linter for the tree at `root`."""
    command = Path(sysconfig.get_path("scripts"), "lint-imports")
    done = subprocess.run(
        [command, "--no-cache", "--no-logo"],
        cwd=root,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def addresses(text: str) -> list[str]:
    """Return what in `text` is or looks like the address of a registry or a download."""
    return ADDRESS.findall(text)


def pins(lock: Path) -> dict[str, str]:
    """Return the version that a requirements lock gives each package."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    """Return the package names of requirements such as `h11>=0.16,<0.17`."""
    return {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in requirements}


def write_tree(root: Path, files: dict[str, str]) -> None:
    """Write `files`, a text for each path below `root`."""
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def skeleton() -> dict[str, str]:
    """Return a tree with our contracts and one empty package for each layer they name."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    packages = re.findall(r"\w+", " ".join(layers))
    return {
        "pyproject.toml": (ROOT / "pyproject.toml").read_text(),
        "sseserver/__init__.py": "",
        **{f"sseserver/{package}/__init__.py": "" for package in packages},
    }


def test_every_module_has_a_twin() -> None:
    """Every module has a file of unit tests of its own, in the same place below tests/unit."""
    assert [] == modules_without_twin(ROOT)


def test_a_module_without_a_twin_is_named(tmp_path: Path) -> None:
    """A module whose twin is missing, empty or elsewhere is reported; entry files are not."""
    write_tree(
        tmp_path,
        {
            "sseserver/__init__.py": "",
            "sseserver/__main__.py": "",
            "sseserver/tested.py": "",
            "sseserver/wire/alone.py": "",
            "sseserver/wire/empty.py": "",
            "sseserver/wire/misplaced.py": "",
            "tests/unit/test_tested.py": "def test_it() -> None: ...\n",
            "tests/unit/test_misplaced.py": "def test_it() -> None: ...\n",
            "tests/unit/wire/test_empty.py": '"""Nothing yet."""\n',
        },
    )

    assert ["wire/alone.py", "wire/empty.py", "wire/misplaced.py"] == modules_without_twin(tmp_path)


def test_import_contracts_hold() -> None:
    """Stages import only stages below, the core is sans-I/O, and nothing imports in a circle."""
    code, output = lint_imports(ROOT)

    assert 0 == code, output


def test_import_contracts_hold_on_a_skeleton(tmp_path: Path) -> None:
    """The contracts themselves are sound: a tree without any import passes."""
    write_tree(tmp_path, skeleton())

    code, output = lint_imports(tmp_path)

    assert 0 == code, output


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        pytest.param(
            {"sseserver/errors/__init__.py": "import sseserver.events\n"},
            "a stage imports only stages below it BROKEN",
            id="upwards",
        ),
        pytest.param(
            {"sseserver/hub/__init__.py": "import sseserver.state\n"},
            "a stage imports only stages below it BROKEN",
            id="sideways",
        ),
        pytest.param(
            {"sseserver/helpers.py": ""},
            "a stage imports only stages below it BROKEN",
            id="a module that no layer names",
        ),
        pytest.param(
            {"sseserver/hub/__init__.py": "import asyncio\n"},
            "the core is sans-I/O BROKEN",
            id="asyncio in the core",
        ),
        pytest.param(
            {
                "sseserver/wire/one.py": "import sseserver.wire.two\n",
                "sseserver/wire/two.py": "import sseserver.wire.one\n",
            },
            "no cycles inside a stage BROKEN",
            id="cycle",
        ),
    ],
)
def test_a_forbidden_import_breaks_its_contract(
    tmp_path: Path, files: dict[str, str], verdict: str
) -> None:
    """Each contract refuses what it is there to refuse."""
    write_tree(tmp_path, skeleton() | files)

    code, output = lint_imports(tmp_path)

    assert 1 == code
    assert verdict in output


@pytest.mark.parametrize("path", PACKAGING)
def test_packaging_names_no_address(path: str) -> None:
    """Where packages come from is the machine's affair: no packaging file names an address."""
    assert [] == addresses((ROOT / path).read_text())


@pytest.mark.parametrize(
    "line",
    [
        "--index-url mirror",
        "--extra-index-url=mirror",
        "--find-links wheels",
        "--trusted-host mirror",
        "h11 @ git+ssh://mirror/h11",
        '"resolved": "eventsource-3.0.7.tgz"',
        "registry=packages.example.org",
    ],
)
def test_an_address_is_found(line: str) -> None:
    """Every form in which a lock or a configuration names an address is recognised."""
    assert 1 == len(addresses(line))


def test_locks_name_every_declared_dependency() -> None:
    """The locks are not older than the dependencies that pyproject.toml declares."""
    runtime = names(PROJECT["project"]["dependencies"])
    development = names(PROJECT["project"]["optional-dependencies"]["dev"])

    assert set() == runtime - pins(ROOT / "requirements.lock").keys()
    assert set() == (runtime | development) - pins(ROOT / "requirements-dev.lock").keys()


def test_tests_run_with_the_versions_that_are_deployed() -> None:
    """The development lock gives each runtime dependency the version of the runtime lock."""
    runtime = pins(ROOT / "requirements.lock")
    development = pins(ROOT / "requirements-dev.lock")

    assert runtime == {name: development.get(name) for name in runtime}


def test_package_and_project_agree_on_the_version() -> None:
    """`sseserver.__version__` is the version that pyproject.toml gives the distribution."""
    assert PROJECT["project"]["version"] == sseserver.__version__
