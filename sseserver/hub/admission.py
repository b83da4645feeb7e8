"""Who may try: connection attempts per minute and address.

Counted are GETs of streams, whatever their outcome but refusals; otherwise an office behind one
address would never get back in (contract section 4). IPv6 addresses count per /64, which is
what one household is given.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from sseserver.config import LimitsConfig

_MINUTE: Final = 60.0
_MAX_ADDRESSES: Final = 100_000
"""Addresses remembered; past it the longest silent one is forgotten."""


def is_exempt(
    address: IPv4Address | IPv6Address, networks: Sequence[IPv4Network | IPv6Network]
) -> bool:
    """Tell whether an address lies in one of these networks."""
    return any(address.version == network.version and address in network for network in networks)


class AttemptLimit:
    """Attempts of the last minute by address.

    Args:
        limits: How many are allowed; 0 turns the limit off.
    """

    def __init__(self, limits: LimitsConfig) -> None:
        self.limits = limits
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._attempts)

    def wait_seconds(self, key: str, now: float) -> float:
        """Return how long an address must wait before it may try again; 0.0 for not at all.

        Args:
            key: The address or its /64.
            now: Monotonic seconds.
        """
        allowed = self.limits.attempts_per_minute_per_ip
        attempts = self._attempts.get(key)
        if not allowed or attempts is None:
            return 0.0
        while attempts and now - attempts[0] >= _MINUTE:
            attempts.popleft()
        if not attempts:
            del self._attempts[key]
            return 0.0
        if len(attempts) < allowed:
            return 0.0
        return attempts[len(attempts) - allowed] + _MINUTE - now

    def count(self, key: str, now: float) -> None:
        """Count one attempt."""
        allowed = self.limits.attempts_per_minute_per_ip
        if not allowed:
            return
        attempts = self._attempts.get(key)
        if attempts is None:
            if len(self._attempts) >= _MAX_ADDRESSES:
                self._attempts.popitem(last=False)
            attempts = self._attempts[key] = deque(maxlen=allowed)
        else:
            self._attempts.move_to_end(key)
            if attempts.maxlen != allowed:
                attempts = self._attempts[key] = deque(attempts, maxlen=allowed)
        attempts.append(now)

    def forget_old(self, now: float) -> None:
        """Free the memory of addresses that have been silent for a minute."""
        while self._attempts:
            key, attempts = next(iter(self._attempts.items()))
            if attempts and now - attempts[-1] < _MINUTE:
                return
            del self._attempts[key]
