"""Tests of `sseserver.ingest.recent_keys`."""

import pytest

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.ingest.recent_keys import (
    REMEMBERED_SECONDS,
    Publication,
    PublishKey,
    RecentKeys,
    digest_of,
)

KEY = PublishKey("k-1", "order:update", "user-1")
DIGEST = digest_of({"a": 1})


def test_a_publish_is_found_until_two_minutes_have_passed() -> None:
    """Counted from the first publish: a retry does not prolong it."""
    keys = RecentKeys(10)
    keys.remember(KEY, Publication(7, DIGEST, 100.0))

    assert 7 == keys.find(KEY, DIGEST, 100.0)
    assert 7 == keys.find(KEY, DIGEST, 99.0 + REMEMBERED_SECONDS)
    assert keys.find(KEY, DIGEST, 100.0 + REMEMBERED_SECONDS) is None
    assert 0 == len(keys)


@pytest.mark.parametrize(
    "other",
    [KEY._replace(key="k-2"), KEY._replace(event_type="order:fill"), KEY._replace(user_id=None)],
)
def test_a_key_is_one_for_its_type_and_user(other: PublishKey) -> None:
    """The same word of another user or for another type is another key."""
    keys = RecentKeys(10)
    keys.remember(KEY, Publication(7, DIGEST, 0.0))

    assert keys.find(other, DIGEST, 0.0) is None


def test_other_data_under_the_same_key_is_refused() -> None:
    """As it stands in the contract: `invalid_message`."""
    keys = RecentKeys(10)
    keys.remember(KEY, Publication(7, DIGEST, 0.0))
    with pytest.raises(FeedError) as refusal:
        keys.find(KEY, digest_of({"a": 2}), 0.0)

    assert (FeedErrorCode.INVALID_MESSAGE, "$.key") == (refusal.value.code, refusal.value.path)


def test_data_is_the_same_in_any_order() -> None:
    """A feed may write its fields in another order when it tries again."""
    assert digest_of({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of({"b": {"d": 3, "c": 2}, "a": 1})


def test_past_the_limit_the_oldest_goes() -> None:
    """And is counted once."""
    keys = RecentKeys(2)
    for number in range(3):
        keys.remember(KEY._replace(key=str(number)), Publication(number, DIGEST, 0.0))

    assert ["1", "2"] == [saved.key for saved in keys.saved(0.0, 2)]
    assert (1, 0) == (keys.take_evictions(), keys.take_evictions())


def test_data_that_is_too_deep_to_be_compared_is_refused() -> None:
    """As the feed's mistake, where it stands."""
    data: dict[str, object] = {}
    for _ in range(2_000):
        data = {"a": data}
    with pytest.raises(FeedError) as refusal:
        digest_of(data)

    assert (FeedErrorCode.INVALID_MESSAGE, "$.data") == (refusal.value.code, refusal.value.path)
