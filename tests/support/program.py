"""The real program with any arguments: run to its end, or read line by line while it runs."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

TIMEOUT_SECONDS: Final = 20.0


class Done(NamedTuple):
    """How a run ended."""

    code: int
    out: str
    err: str


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without this program's variables, but with these."""
    inherited = {key: value for key, value in os.environ.items() if "SSESERVER__" not in key}
    return {**inherited, "PYTHONUNBUFFERED": "1", **variables}


async def run(
    *arguments: str, folder: Path, stdin: str = "", variables: Mapping[str, str] | None = None
) -> Done:
    """Run the program in a folder and wait for its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sseserver", *arguments),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(variables or {}),
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


class Running:
    """A program that runs; its standard output is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Return the next line of standard output, without its end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_SECONDS):
            line = await self.process.stdout.readline()
        assert line, "it has ended"
        return line.decode().removesuffix("\n")

    async def until(self, text: str) -> list[str]:
        """Return the lines up to the one that holds `text`."""
        lines = [await self.line()]
        while text not in lines[-1]:
            lines.append(await self.line())
        return lines

    async def stop(self, number: int) -> Done:
        """Send a signal; return how it ended, with what was left to read."""
        self.process.send_signal(number)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Done(self.process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def running(
    *arguments: str, folder: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run the program in a folder meanwhile; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sseserver", *arguments),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(variables or {}),
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
