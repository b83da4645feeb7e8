"""The opening of a stream: where a client resumes, and the IDs of its first events.

`connected`, `stream:gap`, replay, snapshot, live (contract section 4). IDs strictly increase
along the connection, and each is a place to resume from. So the events that the server makes
for one connection take IDs

* after everything, from the generator, when no replay follows;
* between the last event the client has (or has lost) and the first it is replayed, otherwise;
* and `connected` takes one from *before* the loss when a gap follows it: a connection that
  breaks between the two is told of the gap again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sseserver.errors import GapReason
from sseserver.event_id import MIN_STEP, SUFFIX_SPAN, EventIdGenerator
from sseserver.events import Event
from sseserver.hub.replay_buffer import ReplayBuffer

_CLOSE: Final = MIN_STEP >> 4


class Opening(NamedTuple):
    """What is sent before the snapshot.

    An ID of None leaves the `id:` line out: no ID was left at that place.
    """

    replay: Sequence[Event]
    connected_id: int | None
    gap: GapReason | None
    gap_id: int | None


def plan_opening(  # noqa: PLR0913 - one call, all that decides it
    last_event_id: int | None,
    routes: frozenset[str],
    buffer: ReplayBuffer,
    ids: EventIdGenerator,
    *,
    start_id: int,
    wants_replay: bool,
    now_ms: int,
) -> Opening:
    """Return how a stream of private events opens.

    Args:
        last_event_id: The ID the client named, or None.
        routes: What the stream carries.
        buffer: The user's replay buffer.
        ids: The generator of all IDs.
        start_id: IDs up to this one are from before the start.
        wants_replay: False leaves the replay out for a client that names no last event ID.
            One that does is resuming, and resuming never skips (contract section 4).
        now_ms: Wall clock in milliseconds.
    """
    gap = _gap(last_event_id, routes, buffer, ids, start_id)
    after_id = 0 if last_event_id is None or gap is GapReason.UNKNOWN else last_event_id
    lost_id = buffer.lost_before(routes)
    is_replayed = wants_replay or last_event_id is not None
    replay = list(buffer.after(after_id, routes)) if is_replayed else []
    begin_id = start_id
    if replay:
        upper = replay[0].id
        lower = max(after_id, lost_id, upper - SUFFIX_SPAN)
        if upper > start_id:
            lower = max(lower, start_id)
        elif gap is not None:  # from a state file, after a crash: the loss comes after it
            lower = max(lower, after_id + _CLOSE)
            begin_id = min(upper, lower)
        first_id = ids.between(lower, upper)
    else:
        first_id = ids.next(now_ms)
    if gap is None:
        return Opening(replay, first_id, None, None)
    assert last_event_id is not None, "a gap follows a last event ID"
    connected_id = _before_loss(last_event_id, gap, ids, begin_id, lost_id)
    return Opening(replay, connected_id, gap, first_id)


def _gap(
    last_event_id: int | None,
    routes: frozenset[str],
    buffer: ReplayBuffer,
    ids: EventIdGenerator,
    start_id: int,
) -> GapReason | None:
    if last_event_id is None:
        return None
    if last_event_id > ids.last:
        return GapReason.UNKNOWN
    if last_event_id <= start_id:
        return GapReason.RESTARTED
    return buffer.gap_after(last_event_id, routes)


def _before_loss(
    last_event_id: int, gap: GapReason, ids: EventIdGenerator, begin_id: int, lost_id: int
) -> int | None:
    """Return an ID for `connected` with which a client would be told of the gap again.

    One that named an ID from the future gets an ID from just before the start.
    """
    match gap:
        case GapReason.UNKNOWN:
            return ids.between(begin_id - SUFFIX_SPAN, begin_id)
        case GapReason.RESTARTED:
            return ids.between(last_event_id, begin_id)
        case _:
            # Close behind the client's own, so that the reason told again is the same.
            return ids.between(last_event_id, min(lost_id, last_event_id + _CLOSE))
