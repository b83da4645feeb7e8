"""Fuzzing for as long as somebody wants: once in CI, for minutes on demand.

`SSESERVER_FUZZ_MINUTES` says how long each of the tests goes on finding new examples.
"""

import os
import time
from collections.abc import Callable
from typing import Final

MINUTES: Final = float(os.environ.get("SSESERVER_FUZZ_MINUTES", "0"))

TIMEOUT_SECONDS: Final = 60 + 120 * MINUTES
"""For `pytest.mark.timeout`: a round that has begun is finished."""


def rounds(fuzz: Callable[[], None]) -> None:
    """Run a Hypothesis test once, and again until the time is over."""
    end = time.monotonic() + 60 * MINUTES
    fuzz()
    while time.monotonic() < end:
        fuzz()
