"""Tests of `sseserver.net.roster`."""

import asyncio

from sseserver.net.roster import Roster


def roster_of(*members: str) -> Roster[str]:
    """Return a roster on which these have come."""
    roster: Roster[str] = Roster()
    for member in members:
        roster.add(member)
    return roster


async def waiting(roster: Roster[str]) -> asyncio.Task[None]:
    """Return a task that waits until the roster is empty, as far as it gets."""
    task = asyncio.create_task(roster.emptied())
    await turn()
    return task


async def turn() -> None:
    """Let every task go on that can."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_members_stand_in_the_order_in_which_they_came() -> None:
    """The oldest is first."""
    assert ["b", "a", "c"] == list(roster_of("b", "a", "c"))


def test_a_member_stands_once() -> None:
    """Coming again changes neither place nor number."""
    roster = roster_of("b", "a", "b")

    assert (2, ["b", "a"]) == (len(roster), list(roster))


def test_a_member_that_has_gone_is_out() -> None:
    """The others keep their order."""
    roster = roster_of("a", "b", "c")
    roster.discard("b")

    assert (2, ["a", "c"]) == (len(roster), list(roster))


def test_going_twice_is_harmless() -> None:
    """Who is not on the roster is not missed."""
    roster = roster_of("a", "b")
    roster.discard("b")
    roster.discard("b")

    assert ["a"] == list(roster)


def test_members_may_leave_while_the_roster_is_read() -> None:
    """The iteration is over those who were there when it began."""
    roster = roster_of("a", "b", "c")
    seen = []
    for member in roster:
        seen.append(member)
        roster.discard("c")

    assert ["a", "b", "c"] == seen


async def test_an_empty_roster_is_not_waited_on() -> None:
    """Nobody there: the wait is over before it begins."""
    task = await waiting(roster_of())

    assert task.done()


async def test_the_wait_ends_with_the_last_member() -> None:
    """While anybody is left it goes on, and it ends when the last one has gone."""
    roster = roster_of("a", "b")
    task = await waiting(roster)
    states = []
    for member in ("b", "a"):
        roster.discard(member)
        await turn()
        states.append(task.done())

    assert [False, True] == states


async def test_who_comes_meanwhile_is_waited_for() -> None:
    """The roster is empty when those who came during the wait have gone too."""
    roster = roster_of("a")
    task = await waiting(roster)
    roster.add("b")
    states = []
    for member in ("a", "b"):
        roster.discard(member)
        await turn()
        states.append(task.done())

    assert [False, True] == states


async def test_a_roster_that_empties_twice_ends_one_wait() -> None:
    """Emptied, filled and emptied again before the waiter runs: it has ended once."""
    roster = roster_of("a")
    task = await waiting(roster)
    roster.discard("a")
    roster.add("b")
    roster.discard("b")
    await turn()

    assert task.done()


async def test_a_wait_that_was_given_up_harms_nobody() -> None:
    """After a waiter ran out of patience members leave, and the next wait works."""
    roster = roster_of("a", "b")
    task = await waiting(roster)
    task.cancel()
    await turn()
    roster.discard("a")
    second = await waiting(roster)
    roster.discard("b")
    await turn()

    assert (True, True) == (task.cancelled(), second.done())


async def test_members_that_leave_after_a_wait_was_given_up_harm_nobody() -> None:
    """The last one leaves while nobody waits any more."""
    roster = roster_of("a")
    task = await waiting(roster)
    task.cancel()
    await turn()
    roster.discard("a")

    assert 0 == len(roster)


def test_the_oldest_that_is_wanted_is_found() -> None:
    """None where nobody is."""
    roster = roster_of("b", "a", "c", "aa")

    assert ("a", None) == (
        roster.first(lambda name: name.startswith("a")),
        roster.first(lambda name: name == "d"),
    )
