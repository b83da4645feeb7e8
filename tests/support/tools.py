"""Programs of other people that some tests need."""

import os
import shutil

import pytest


def need(*names: str) -> str:
    """Return the path of the first of these programs that is there, or skip the test."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    miss(f"{names[0]} is missing")
    raise AssertionError("a test that misses something has ended")


def miss(reason: str) -> None:
    """Skip the test; where `CI` is `true`, everything is expected to be there, and it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI needs it")
    pytest.skip(reason)
