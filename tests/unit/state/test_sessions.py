"""Sessions and owners of strategies: `sseserver.state.sessions`."""

import hashlib

import pytest

from sseserver.state.sessions import (
    Session,
    SessionChange,
    Sessions,
    StrategyOwners,
    session_key,
)

KEY = session_key("s-1")
OTHER = session_key("s-2")
NOW = 1_000_000


def expiry_entries(sessions: Sessions) -> int:
    """Return how many expiries are noted, stale ones included."""
    return len(sessions._expiries)


def test_a_key_is_a_digest() -> None:
    """A session is stored under the SHA-256 of its ID."""
    assert session_key("s-1") == hashlib.sha256(b"s-1").digest()


def test_any_text_has_a_key() -> None:
    """IDs outside ASCII have a key as well."""
    assert len(session_key("séance-☃")) == 32


def test_a_put_session_is_valid() -> None:
    """A new session can be got with its user, role and expiry."""
    sessions = Sessions(10)

    assert sessions.put(KEY, "u-1", "admin", NOW + 5, NOW) is SessionChange.NEW
    assert sessions.get(KEY, NOW) == Session("u-1", "admin", NOW + 5)


def test_an_unknown_session_is_none() -> None:
    """Nobody gets in with a key that was not put."""
    assert Sessions(10).get(KEY, NOW) is None


@pytest.mark.parametrize(("after_ms", "is_valid"), [(4, True), (5, False), (6, False)])
def test_a_session_is_valid_until_its_expiry(after_ms: int, is_valid: bool) -> None:
    """At the very millisecond of its expiry a session has ended."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)

    assert (sessions.get(KEY, NOW + after_ms) is not None) is is_valid


def test_a_session_without_expiry_stays() -> None:
    """A session without an expiry is valid until it is deleted."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", None, NOW)

    assert sessions.get(KEY, 10**15) is not None


def test_an_expired_session_is_forgotten() -> None:
    """Asking for an expired session removes it."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)
    assert sessions.count == 1

    sessions.get(KEY, NOW + 5)

    assert sessions.count == 0


@pytest.mark.parametrize("expires_at_ms", [None, NOW + 1, NOW + 5, NOW + 9])
def test_a_renewal_changes_the_expiry_in_place(expires_at_ms: int | None) -> None:
    """The same user and role: streams that hold the session see its new expiry."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)
    session = sessions.get(KEY, NOW)

    change = sessions.put(KEY, "u-1", "user", expires_at_ms, NOW)

    assert change is SessionChange.RENEWED
    assert sessions.get(KEY, NOW) is session
    assert session == Session("u-1", "user", expires_at_ms)


@pytest.mark.parametrize(("user_id", "role"), [("u-2", "user"), ("u-1", "admin")])
def test_another_user_or_role_ends_the_old_session(user_id: str, role: str) -> None:
    """Another user or role under the same ID is another session, valid at once."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", None, NOW)
    before = sessions.get(KEY, NOW)

    change = sessions.put(KEY, user_id, "admin" if role == "admin" else "user", None, NOW)

    after = sessions.get(KEY, NOW)
    assert change is SessionChange.ENDED
    assert after is not before
    assert (after and after.user_id, after and after.role) == (user_id, role)


@pytest.mark.parametrize("expires_at_ms", [NOW, NOW - 1, 0])
def test_an_expiry_in_the_past_ends_a_session(expires_at_ms: int) -> None:
    """A put whose expiry has passed ends the streams of a session that was live."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", None, NOW)

    assert sessions.put(KEY, "u-1", "user", expires_at_ms, NOW) is SessionChange.ENDED
    assert sessions.get(KEY, NOW) is None


def test_an_expiry_in_the_past_is_never_stored() -> None:
    """A put whose expiry has passed makes no session, and takes nobody's place."""
    sessions = Sessions(1)
    sessions.put(OTHER, "u-2", "user", None, NOW)

    assert sessions.put(KEY, "u-1", "user", NOW, NOW) is SessionChange.ENDED
    assert sessions.get(OTHER, NOW) is not None
    assert sessions.count == 1


def test_an_expired_session_that_is_put_again_is_new() -> None:
    """After its expiry a session starts anew: streams that hold the old one see it expired."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)
    before = sessions.get(KEY, NOW)

    assert sessions.put(KEY, "u-1", "user", None, NOW + 5) is SessionChange.NEW
    assert sessions.get(KEY, NOW + 5) is not before
    assert before is not None
    assert before.is_expired(NOW + 5)


def test_a_deleted_session_is_gone() -> None:
    """Deleting says whether there was a session, once."""
    sessions = Sessions(10)
    sessions.put(KEY, "u-1", "user", None, NOW)

    assert sessions.delete(KEY)
    assert sessions.get(KEY, NOW) is None
    assert not sessions.delete(KEY)


def test_past_the_limit_an_expired_session_goes_first() -> None:
    """A session that has expired makes room before older valid ones, and is not counted."""
    sessions = Sessions(2)
    sessions.put(KEY, "u-1", "user", None, NOW)
    sessions.put(OTHER, "u-2", "user", NOW + 5, NOW)

    sessions.put(session_key("s-3"), "u-3", "user", None, NOW + 5)

    assert sessions.get(KEY, NOW + 5) is not None
    assert (sessions.count, sessions.take_evictions()) == (2, 0)


def test_past_the_limit_the_oldest_session_goes() -> None:
    """Where none has expired the session put longest ago goes, and is counted once."""
    sessions = Sessions(2)
    for number in range(4):
        sessions.put(session_key(f"s-{number}"), "u-1", "user", NOW + 100 - number, NOW)

    valid = [number for number in range(4) if sessions.get(session_key(f"s-{number}"), NOW)]
    assert valid == [2, 3]
    assert sessions.take_evictions() == 2
    assert sessions.take_evictions() == 0


def test_who_went_past_the_limit_is_told_once() -> None:
    """The keys of valid sessions that made room are handed out once; expired ones are not told."""
    sessions = Sessions(2)
    sessions.put(KEY, "u-1", "user", None, NOW)
    sessions.put(OTHER, "u-2", "user", NOW + 5, NOW)
    sessions.put(session_key("s-3"), "u-3", "user", None, NOW)
    taken = [sessions.take_evicted(), sessions.take_evicted()]
    sessions.put(session_key("s-4"), "u-4", "user", None, NOW + 5)

    assert [*taken, sessions.take_evicted()] == [[KEY], [], []]


def test_a_renewed_session_is_not_the_oldest() -> None:
    """A renewal counts as a put."""
    sessions = Sessions(2)
    sessions.put(KEY, "u-1", "user", None, NOW)
    sessions.put(OTHER, "u-2", "user", None, NOW)
    sessions.put(KEY, "u-1", "user", None, NOW)

    sessions.put(session_key("s-3"), "u-3", "user", None, NOW)

    assert sessions.get(KEY, NOW) is not None
    assert sessions.get(OTHER, NOW) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [(NOW + 5, NOW + 50), (NOW + 5, None)],
    ids=["later", "never"],
)
def test_a_renewed_session_does_not_go_at_its_old_expiry(first: int, second: int | None) -> None:
    """The expiry that counts when room is needed is the newest."""
    sessions = Sessions(2)
    sessions.put(OTHER, "u-2", "user", None, NOW)
    sessions.put(KEY, "u-1", "user", first, NOW)
    sessions.put(KEY, "u-1", "user", second, NOW)

    sessions.put(session_key("s-3"), "u-3", "user", None, NOW + 10)

    assert sessions.get(KEY, NOW + 10) is not None
    assert sessions.take_evictions() == 1


@pytest.mark.parametrize("first", [NOW + 50, None])
def test_a_shortened_session_goes_at_its_new_expiry(first: int | None) -> None:
    """A session renewed to an earlier expiry makes room from then on."""
    sessions = Sessions(2)
    sessions.put(OTHER, "u-2", "user", None, NOW)
    sessions.put(KEY, "u-1", "user", first, NOW)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)

    sessions.put(session_key("s-3"), "u-3", "user", None, NOW + 10)

    assert sessions.get(OTHER, NOW + 10) is not None
    assert sessions.take_evictions() == 0


def test_a_prolonged_session_expires_all_the_same() -> None:
    """An expiry that was moved on makes room when it has come."""
    sessions = Sessions(2)
    sessions.put(OTHER, "u-2", "user", None, NOW)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)
    sessions.put(KEY, "u-1", "user", NOW + 50, NOW)
    for late in (10, 60):
        sessions.put(session_key(f"s-{late}"), "u-3", "user", None, NOW + late)

    # The first put pushed out the oldest; the second found the prolonged one expired.
    assert sessions.get(session_key("s-10"), NOW + 60) is not None
    assert sessions.take_evictions() == 1


def test_a_deleted_session_leaves_no_room_twice() -> None:
    """The expiry of a session that was deleted does not make room for another."""
    sessions = Sessions(1)
    sessions.put(KEY, "u-1", "user", NOW + 5, NOW)
    sessions.delete(KEY)
    sessions.put(OTHER, "u-2", "user", None, NOW)

    sessions.put(session_key("s-3"), "u-3", "user", None, NOW + 10)

    assert sessions.take_evictions() == 1


def test_renewals_note_nothing() -> None:
    """A session that is prolonged for ever has one expiry noted."""
    sessions = Sessions(10)
    for number in range(1000):
        sessions.put(KEY, "u-1", "user", NOW + number + 1, NOW)

    assert expiry_entries(sessions) == 1


def test_sessions_that_come_and_go_leave_little() -> None:
    """What deleted sessions leave behind is bounded by the number of sessions."""
    sessions = Sessions(10)
    sessions.put(OTHER, "u-2", "user", NOW + 5, NOW)
    sessions.put(session_key("s-3"), "u-3", "user", None, NOW)
    for number in range(1000):
        key = session_key(f"gone-{number}")
        sessions.put(key, "u-1", "user", NOW + 100, NOW)
        sessions.delete(key)

    assert expiry_entries(sessions) <= 2 * 3 + 64
    assert sessions.get(OTHER, NOW) is not None


def test_who_expired_is_found_among_many_that_came_and_went() -> None:
    """After stale expiries were thrown out, the session that expired first still goes first."""
    sessions = Sessions(2)
    sessions.put(KEY, "u-1", "user", NOW + 900, NOW)
    sessions.put(OTHER, "u-2", "user", NOW + 5, NOW)
    for number in range(200):
        sessions.put(KEY, f"u-{number}", "user", NOW + 900, NOW)

    sessions.put(session_key("s-3"), "u-3", "user", None, NOW + 5)

    assert sessions.get(KEY, NOW + 5) is not None
    assert sessions.take_evictions() == 0


def test_a_strategy_has_an_owner() -> None:
    """A registered strategy belongs to the user it was put with."""
    owners = StrategyOwners(10)

    assert owners.put("st-1", "u-1") is None
    assert owners.owner("st-1") == "u-1"
    assert owners.owner("st-2") is None


def test_a_strategy_may_change_hands() -> None:
    """A put names the owner up to now."""
    owners = StrategyOwners(10)
    owners.put("st-1", "u-1")

    assert owners.put("st-1", "u-2") == "u-1"
    assert owners.owner("st-1") == "u-2"
    assert owners.count == 1


def test_a_forgotten_strategy_has_no_owner() -> None:
    """A delete names who owned the strategy, once."""
    owners = StrategyOwners(10)
    owners.put("st-1", "u-1")

    assert owners.delete("st-1") == "u-1"
    assert owners.owner("st-1") is None
    assert owners.delete("st-1") is None


def test_strategies_are_bounded() -> None:
    """Past the limit the strategy put longest ago goes, and is counted once."""
    owners = StrategyOwners(2)
    for strategy_id in ("st-1", "st-2", "st-1", "st-3"):
        owners.put(strategy_id, "u-1")

    assert [owners.owner(f"st-{number}") for number in (1, 2, 3)] == ["u-1", None, "u-1"]
    assert owners.take_evictions() == 1
    assert owners.take_evictions() == 0


def test_which_strategies_went_past_the_limit_is_told_once() -> None:
    """Strategies that made room are handed out once, with their owners."""
    owners = StrategyOwners(1)
    owners.put("st-1", "u-1")
    owners.put("st-1", "u-2")
    owners.put("st-2", "u-3")

    assert (owners.take_evicted(), owners.take_evicted()) == ([("st-1", "u-2")], [])
