"""A short soak: `make soak` for as long as one likes."""

from tests.soak.__main__ import faults_of, parse, soak


async def test_nothing_is_lost_or_doubled_while_everything_fails() -> None:
    """Resets, stalls, leaves, feeds cut off amid a line, and restarts of the server.

    Memory is no matter of seconds: the long run looks at it.
    """
    report = await soak(
        parse(["--minutes=0.2", "--facts=8000", "--faults=100", "--clients=40", "--users=16"])
    )

    assert {*faults_of(report)} <= {"memory"}, report
    assert 7 == report["faults"]["server_restart"]
