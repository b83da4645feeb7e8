"""The load test for locust: what arrives is counted, and what does not is a failure."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.daemon import Daemon, start

ROOT: Final = Path(__file__).parents[2]
TABS: Final = 20
TIMEOUT_SECONDS: Final = 45.0


async def load(server: Daemon, folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Load a server for two seconds; return locust's exit code, and its table by the names."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "bench/locustfile.py"),
        *("--headless", "--users", str(TABS), "--spawn-rate", str(TABS), "--run-time", "2s"),
        *("--host", f"http://127.0.0.1:{server.port}", "--ingest", server.ingest_path),
        *("--json-file", str(folder / "table"), *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    table = json.loads((folder / "table.json").read_text())
    return code, {row["name"]: row for row in table}


@pytest.mark.parametrize("stream", ["orders", "prices"])
async def test_every_event_arrives(stream: str, tmp_path: Path) -> None:
    """Every stream opens, events arrive, nothing fails, and locust says so by its exit code."""
    async with await start(tmp_path, {"log.level": "info"}) as server:
        code, rows = await load(
            server, tmp_path, "--stream", stream, "--tabs", "5", "--events-per-second", "20"
        )

    assert 0 == code
    assert TABS == rows["first event"]["num_requests"]
    assert rows["delivery"]["num_requests"] > rows["publish"]["num_requests"] > 0
    assert [0, 0, 0] == [row["num_failures"] for row in rows.values()]


async def test_a_refusal_is_a_failure(tmp_path: Path) -> None:
    """Streams beyond the limit of attempts are failures, and locust's exit code is 1."""
    settings = {"limits.attempts_per_minute_per_ip": 5}
    async with await start(tmp_path, settings) as server:
        code, rows = await load(server, tmp_path)

    assert 1 == code
    assert rows["first event"]["num_failures"] >= TABS - 5
    assert 0 == rows["delivery"]["num_failures"]


async def test_a_missing_event_is_a_failure(tmp_path: Path) -> None:
    """Prices that the server conflates did not arrive, and locust's exit code is 1."""
    settings = {"batching.threshold_per_second": 1, "log.level": "info"}
    async with await start(tmp_path, settings) as server:
        code, rows = await load(
            server, tmp_path, "--stream", "prices", "--events-per-second", "400"
        )

    assert 1 == code
    assert rows["delivery"]["num_failures"] > 0
