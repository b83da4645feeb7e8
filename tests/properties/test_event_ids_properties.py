"""Event IDs: they increase, they compare as the contract says, and there is room between them."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sseserver.event_id import (
    SUFFIX_LENGTH,
    SUFFIX_SPAN,
    EventIdGenerator,
    format_event_id,
    milliseconds_of,
    parse_event_id,
)

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
NOW_MS = 1_735_819_800_000

values = st.integers(0, 10**15 * SUFFIX_SPAN - 1)
suffixes = st.text(ALPHABET, min_size=SUFFIX_LENGTH, max_size=SUFFIX_LENGTH)
milliseconds = st.one_of(st.integers(0, 10**15 - 1), st.integers(0, 20))
texts = st.builds("{}-{}".format, milliseconds, suffixes)
steps = st.lists(st.one_of(st.just(0), st.integers(-3, 3), st.integers(-(10**6), 10**6)))


class Chance:
    """A reproducible choice, with the ends of the range more likely than they would be."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, below: int) -> int:
        """Return a number from 0 to `below` - 1."""
        return self._random.choice([0, below - 1, self._random.randrange(below)])


chances = st.builds(Chance, st.integers(0, 2**32))


def as_pair(text: str) -> tuple[int, str]:
    """Return an ID as the contract compares it: (number, string)."""
    number, _, suffix = text.partition("-")
    return int(number), suffix


@given(values)
def test_a_formatted_id_parses_to_itself(value: int) -> None:
    """Formatting loses nothing."""
    assert value == parse_event_id(format_event_id(value))


@given(texts)
def test_a_parsed_id_formats_to_itself(text: str) -> None:
    """Parsing loses nothing."""
    value = parse_event_id(text)

    assert value is not None
    assert text == format_event_id(value)


@given(st.one_of(st.text(), st.text(ALPHABET + "-"), st.builds(str.__add__, texts, st.text())))
def test_only_what_formats_to_itself_is_an_id(text: str) -> None:
    """Any text either is the text of the ID that it parses to, leading zeros aside, or none."""
    value = parse_event_id(text)

    assert value is None or text.lstrip("0").rjust(11, "0") == format_event_id(value).lstrip(
        "0"
    ).rjust(11, "0")


@given(st.lists(st.one_of(texts, st.builds("7-{}".format, suffixes))))
def test_integers_compare_as_pairs_do(ids: list[str]) -> None:
    """The order of the integers is that of (number, string)."""
    assert sorted(ids, key=as_pair) == sorted(ids, key=lambda text: parse_event_id(text) or 0)


@given(values)
def test_an_id_tells_its_millisecond(value: int) -> None:
    """What `milliseconds_of` says stands in the text."""
    assert as_pair(format_event_id(value))[0] == milliseconds_of(value)


@given(chances, steps)
def test_ids_increase_whatever_the_clock_does(chance: Chance, moves: list[int]) -> None:
    """IDs strictly increase though the clock stands still or steps back."""
    generator = EventIdGenerator(chance, EventIdGenerator.first_of(NOW_MS))
    now_ms, ids = NOW_MS, [generator.last]
    for move in moves:
        now_ms = max(0, now_ms + move)
        ids.append(generator.next(now_ms))

    assert ids == sorted(set(ids))


@given(chances, steps)
def test_ids_are_never_from_before_the_clock(chance: Chance, moves: list[int]) -> None:
    """An ID's millisecond is the clock's, or later where that has passed already."""
    generator = EventIdGenerator(chance)
    now_ms = NOW_MS
    for move in moves:
        now_ms = max(1, now_ms + move)
        before = milliseconds_of(generator.last)

        assert milliseconds_of(generator.next(now_ms)) in {max(now_ms, before), before + 1}


@given(chances, steps)
def test_resume_points_are_odd_and_strictly_between_events(
    chance: Chance, moves: list[int]
) -> None:
    """Between any two events there is a resume point, and it is no event's ID."""
    generator = EventIdGenerator(chance, EventIdGenerator.first_of(NOW_MS))
    now_ms, lower = NOW_MS, generator.next(NOW_MS)
    for move in moves:
        now_ms = max(0, now_ms + move)
        upper = generator.next(now_ms)
        point = generator.between(lower, upper)

        assert point is not None
        assert (True, 1, 0) == (lower < point < upper, point % 2, upper % 2)
        lower = upper


@given(chances, st.integers(-5, 100), st.integers(-5, 200))
def test_a_resume_point_is_found_where_there_is_one(chance: Chance, lower: int, width: int) -> None:
    """`between` gives an odd number strictly inside, and None only where there is none."""
    inside = [value for value in range(lower + 1, lower + width) if value % 2]
    point = EventIdGenerator(chance).between(lower, lower + width)

    assert point in inside if inside else point is None


@given(chances, st.integers(0, 2**60), st.integers(0, 2**60))
def test_resume_points_behind_one_another_increase(chance: Chance, lower: int, width: int) -> None:
    """A client that breaks behind each resume point is given later ones until no room is left."""
    generator = EventIdGenerator(chance)
    points: list[int] = []
    point: int | None = lower
    while point is not None:
        points.append(point)
        point = generator.between(point, lower + width)

    assert points == sorted(set(points))
    assert lower + width - points[-1] <= 2
