"""Tests of `sseserver.event_id`."""

import pytest

from sseserver.event_id import (
    MAX_STEP,
    MIN_STEP,
    SUFFIX_SPAN,
    EventIdGenerator,
    format_event_id,
    milliseconds_of,
    parse_event_id,
)

NOW_MS = 1_735_819_800_000
START = NOW_MS * SUFFIX_SPAN


def lowest(_below: int) -> int:
    """Return the least that a random choice may be."""
    return 0


def highest(below: int) -> int:
    """Return the most that a random choice may be."""
    return below - 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0-000000000"),
        (1, "0-000000001"),
        (35, "0-00000000z"),
        (36, "0-000000010"),
        (SUFFIX_SPAN - 1, "0-zzzzzzzzz"),
        (SUFFIX_SPAN, "1-000000000"),
        (START + int("abc123def", 36), "1735819800000-abc123def"),
        (10**15 * SUFFIX_SPAN - 1, "999999999999999-zzzzzzzzz"),
        (10**17 * SUFFIX_SPAN - 1, "99999999999999999-zzzzzzzzz"),
        pytest.param(10**128 * SUFFIX_SPAN - 1, f"{'9' * 128}-zzzzzzzzz", id="128 digits"),
    ],
)
def test_an_id_has_one_text(value: int, text: str) -> None:
    """An integer and its text stand for each other, from the first ID to the last."""
    assert (text, value) == (format_event_id(value), parse_event_id(text))


def test_leading_zeros_change_nothing() -> None:
    """Milliseconds are a number: zeros before it are another way to write the same ID."""
    assert parse_event_id("1735819800000-abc123def") == parse_event_id(
        "0" * 100 + "1735819800000-abc123def"
    )


def test_digits_stand_in_their_places() -> None:
    """The nine characters are the digits of the suffix in base 36, the highest first."""
    assert "7-012345678" == format_event_id(7 * SUFFIX_SPAN + int("012345678", 36))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1735819800000",
        "1735819800000-",
        "1735819800000-abc",  # truncated
        "1735819800000-abc123de",
        "1735819800000-abc123defg",
        "1735819800000-ABC123DEF",
        "1735819800000-abc_23def",
        "1735819800000_abc123def",
        "-abc123def",
        "-1-abc123def",
        "+1-abc123def",
        "1.5-abc123def",
        " 1-abc123def",
        "1-abc123def ",
        "1-abc123def\n",
        "1-abc123de\N{ARABIC-INDIC DIGIT ONE}",
        "\N{ARABIC-INDIC DIGIT ONE}-abc123def",
        "1_0-abc123def",
        "1" + "0" * 128 + "-abc123def",
        "0" * 128 + "1-abc123def",
        "9" * 5000 + "-abc123def",
    ],
)
def test_what_is_not_in_the_format_is_no_id(text: str) -> None:
    """A truncated or otherwise malformed ID is not taken for a place to resume from."""
    assert parse_event_id(text) is None


@pytest.mark.parametrize("suffix", [0, 1, SUFFIX_SPAN - 1])
def test_an_id_tells_its_millisecond(suffix: int) -> None:
    """The timestamp part is the same for every suffix."""
    assert NOW_MS == milliseconds_of(START + suffix)


def test_a_millisecond_is_entered_at_random_in_its_first_half() -> None:
    """The first ID of a millisecond is anywhere from its start to its middle."""
    ids = [EventIdGenerator(choose).next(NOW_MS) for choose in (lowest, highest)]

    assert [START, START + SUFFIX_SPAN // 2] == ids


@pytest.mark.parametrize(("choose", "step"), [(lowest, MIN_STEP), (highest, MAX_STEP)])
def test_within_a_millisecond_ids_move_on_by_a_random_step(choose: object, step: int) -> None:
    """Neighbours are at least `MIN_STEP` and at most `MAX_STEP` apart."""
    assert callable(choose)
    generator = EventIdGenerator(choose)
    first = generator.next(NOW_MS)

    assert first + step == generator.next(NOW_MS)


def test_ids_go_on_when_the_clock_steps_back() -> None:
    """With the clock behind, the generator stays where it is and counts on."""
    generator = EventIdGenerator(lowest)
    generator.next(NOW_MS)

    assert START + MIN_STEP == generator.next(NOW_MS - 60_000)


def test_a_burst_runs_ahead_of_the_clock_and_does_not_fall_back() -> None:
    """Past the end of its millisecond the generator goes on in the next ones."""
    generator = EventIdGenerator(lowest, floor=START + SUFFIX_SPAN - 2)
    ahead = generator.next(NOW_MS)

    assert (NOW_MS + 1, ahead + MIN_STEP) == (milliseconds_of(ahead), generator.next(NOW_MS + 1))


@pytest.mark.parametrize("floor", [START, START + 1, START + SUFFIX_SPAN])
def test_ids_are_later_than_the_floor(floor: int) -> None:
    """What may have been given out before, also in the same millisecond, is not given again."""
    assert EventIdGenerator(lowest, floor).next(NOW_MS) > floor


def test_the_first_of_a_millisecond_is_below_all_its_ids() -> None:
    """`first_of` is a floor: the earliest ID of that millisecond is later."""
    floor = EventIdGenerator.first_of(NOW_MS)

    assert [START, START + MIN_STEP] == [floor, EventIdGenerator(lowest, floor).next(NOW_MS)]


@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_the_ids_of_events_are_even(place: int) -> None:
    """Wherever chance puts an ID, it is even, so that no resume point equals it."""
    generator = EventIdGenerator(lambda _below: place)

    assert [0, 0] == [generator.next(NOW_MS) % 2 for _ in range(2)]


def test_steps_leave_room_between_ids_and_in_a_millisecond() -> None:
    """A whole millisecond holds 15,000 average steps, each at least 2**31 resume points wide."""
    assert (15_764, 2**31) == (SUFFIX_SPAN * 2 // (MIN_STEP + MAX_STEP), MIN_STEP // 2)


def test_without_a_floor_every_id_is_new() -> None:
    """The least that can have been given out before is nothing."""
    assert 0 == EventIdGenerator(lowest).last


def test_the_newest_id_is_remembered() -> None:
    """`last` is the floor at first and then the ID that was given out last."""
    generator = EventIdGenerator(lowest, floor=6)
    before = generator.last

    assert (6, generator.next(NOW_MS)) == (before, generator.last)


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (10, 10, None),
        (10, 11, None),
        (10, 12, 11),
        (11, 12, None),
        (11, 13, None),
        (11, 14, 13),
        (12, 10, None),
    ],
)
def test_a_resume_point_needs_room(lower: int, upper: int, expected: int | None) -> None:
    """The smallest gap with an odd number in it gives that one; a smaller gap gives none."""
    assert expected == EventIdGenerator(highest).between(lower, upper)


@pytest.mark.parametrize(
    ("upper", "expected"),
    [(1_030, 1_001), (1_032, 1_003)],  # 15 and 16 odd numbers, of which 1 and 2 are an eighth
)
def test_less_than_an_eighth_is_rounded_down(upper: int, expected: int) -> None:
    """An eighth of 15 resume points is one, of 16 two."""
    assert expected == EventIdGenerator(highest).between(1_000, upper)


@pytest.mark.parametrize(("choose", "expected"), [(lowest, 1_001), (highest, 1_099)])
def test_a_resume_point_lies_in_the_lowest_eighth(choose: object, expected: int) -> None:
    """Resume points take the lowest eighth of the interval and leave the rest for later ones."""
    assert callable(choose)

    assert expected == EventIdGenerator(choose).between(1_000, 1_800)


def test_a_client_may_break_a_hundred_times_before_it_gets_the_next_event() -> None:
    """Between the closest neighbours a hundred resume points fit one behind another."""
    generator = EventIdGenerator(highest)
    points = [0]
    for _ in range(100):
        point = generator.between(points[-1], MIN_STEP)
        assert point is not None
        points.append(point)

    assert points == sorted(set(points))


def test_a_resume_point_does_not_move_the_generator() -> None:
    """A resume point belongs to one connection: the next event's ID does not depend on it."""
    generator = EventIdGenerator(lowest, floor=START)
    generator.between(START, START + SUFFIX_SPAN)

    assert START == generator.last
