"""Tests of `sseserver.hub.admission`."""

from ipaddress import ip_address, ip_network

import pytest

from sseserver.config import LimitsConfig
from sseserver.hub.admission import AttemptLimit, is_exempt

NOW = 1000.0


def limit_of(attempts: int = 3) -> AttemptLimit:
    """Return a limit of so many attempts a minute."""
    return AttemptLimit(LimitsConfig(attempts_per_minute_per_ip=attempts))


def tried(limit: AttemptLimit, *times: float, key: str = "a") -> AttemptLimit:
    """Return the limit after attempts at these times."""
    for now in times:
        limit.count(key, now)
    return limit


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("128.0.0.1", False),
        ("10.1.2.3", True),
        ("10.1.2.4", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("::1", False),
        ("::127.0.0.1", False),
    ],
)
def test_an_address_is_exempt_in_a_network_of_its_kind(address: str, *, expected: bool) -> None:
    """Any of the networks will do; the two versions are never mixed up."""
    networks = [ip_network(text) for text in ("127.0.0.0/8", "10.1.2.3/32", "2001:db8::/32")]

    assert expected == is_exempt(ip_address(address), networks)


def test_without_networks_nobody_is_exempt() -> None:
    """The default exempts no address, not even loopback."""
    assert not is_exempt(ip_address("127.0.0.1"), ())


def test_a_first_attempt_need_not_wait() -> None:
    """An address that was never seen may try."""
    assert 0.0 == limit_of().wait_seconds("a", NOW)


def test_attempts_up_to_the_limit_need_not_wait() -> None:
    """Two of three leave room for one."""
    assert 0.0 == tried(limit_of(3), NOW, NOW).wait_seconds("a", NOW)


@pytest.mark.parametrize(
    ("now", "expected"), [(NOW + 20, 40.0), (NOW + 59.5, 0.5), (NOW + 60, 0.0), (NOW + 99, 0.0)]
)
def test_past_the_limit_an_address_waits_for_its_oldest_attempt(
    now: float, expected: float
) -> None:
    """It may try again a minute after the first of the attempts that fill the limit."""
    limit = tried(limit_of(3), NOW, NOW + 10, NOW + 20)

    assert expected == limit.wait_seconds("a", now)


def test_the_minute_slides() -> None:
    """When the oldest attempt has gone the next oldest decides."""
    limit = tried(limit_of(2), NOW, NOW + 10)
    first = limit.wait_seconds("a", NOW + 60)
    limit.count("a", NOW + 60)

    assert (0.0, 10.0) == (first, limit.wait_seconds("a", NOW + 60))


def test_asking_is_not_trying() -> None:
    """A refusal does not prolong the wait: only what is counted counts."""
    limit = tried(limit_of(1), NOW)
    waits = [limit.wait_seconds("a", NOW + seconds) for seconds in (10, 20, 30)]

    assert [50.0, 40.0, 30.0] == waits


def test_addresses_do_not_count_for_each_other() -> None:
    """One address at its limit leaves others theirs."""
    limit = tried(limit_of(1), NOW, key="a")

    assert (60.0, 0.0) == (limit.wait_seconds("a", NOW), limit.wait_seconds("b", NOW))


def test_no_limit_counts_nothing() -> None:
    """With 0 nobody waits and nothing is remembered."""
    limit = tried(limit_of(0), *[NOW] * 100)

    assert (0.0, 0) == (limit.wait_seconds("a", NOW), len(limit))


def test_a_limit_that_is_turned_off_holds_nobody_back() -> None:
    """Addresses at their limit may try at once when the limit goes."""
    limit = tried(limit_of(1), NOW)
    limit.limits = LimitsConfig(attempts_per_minute_per_ip=0)

    assert 0.0 == limit.wait_seconds("a", NOW)


def test_a_lowered_limit_counts_attempts_from_before() -> None:
    """Three attempts against a new limit of two: the second oldest must go first."""
    limit = tried(limit_of(5), NOW, NOW + 10, NOW + 20)
    limit.limits = LimitsConfig(attempts_per_minute_per_ip=2)

    assert 50.0 == limit.wait_seconds("a", NOW + 20)


def test_a_raised_limit_holds_for_addresses_that_are_remembered() -> None:
    """An address that tried before the limit was raised is limited by the new one."""
    limit = tried(limit_of(1), NOW)
    limit.limits = LimitsConfig(attempts_per_minute_per_ip=3)
    tried(limit, NOW + 1, NOW + 2)

    assert 58.0 == limit.wait_seconds("a", NOW + 2)


def test_an_address_is_forgotten_when_its_attempts_are_old() -> None:
    """Asking for an address whose minute has passed frees its memory."""
    limit = tried(limit_of(), NOW)
    limit.wait_seconds("a", NOW + 60)

    assert 0 == len(limit)


def test_silent_addresses_are_forgotten() -> None:
    """`forget_old` frees those that have been silent for a minute and keeps the others."""
    limit = limit_of(5)
    for key, seconds in (("a", 0), ("b", 1), ("c", 2), ("a", 50)):
        limit.count(key, NOW + seconds)
    limit.forget_old(NOW + 61.5)

    assert (2, 60.0 - 11.5) == (
        len(limit),
        tried(limit, *[NOW + 61.5] * 4, key="a").wait_seconds("a", NOW + 61.5),
    )


def test_everybody_may_be_silent() -> None:
    """After a quiet minute no address is left."""
    limit = limit_of()
    for key in "abc":
        tried(limit, NOW, key=key)
    limit.forget_old(NOW + 60)

    assert 0 == len(limit)


def test_memory_is_bounded() -> None:
    """Past 100,000 addresses the longest silent one is forgotten, and it alone."""
    limit = limit_of(1)
    for number in range(100_000):
        limit.count(str(number), NOW)
    tried(limit, NOW, key="0")
    tried(limit, NOW, key="one more")

    assert (100_000, 60.0, 0.0, 60.0) == (
        len(limit),
        limit.wait_seconds("0", NOW),
        limit.wait_seconds("1", NOW),
        limit.wait_seconds("2", NOW),
    )
