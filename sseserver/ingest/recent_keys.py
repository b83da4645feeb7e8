"""What makes a retry safe: the keys of recent publishes, with what was published and its ID.

A feed that lost its connection before the answer does not know whether its line was taken. It
sends the line again, with the same `key`, and what was published already is not published twice.

Source: contract section 3, `publish`.
"""

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import JsonObject
from sseserver.ingest.validation import too_deep
from sseserver.saved import SavedKey, pack_id, unpack_id

REMEMBERED_SECONDS: Final = 120.0
"""How long a retry is recognised, from the first publish on."""

_DIGEST_BYTES: Final = 16
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class PublishKey(NamedTuple):
    """What a key is unique for. `user_id` is None for what goes to everybody."""

    key: str
    event_type: str
    user_id: str | None


class Publication(NamedTuple):
    """What was published under a key.

    `published_at` is monotonic seconds.
    """

    event_id: int
    digest: bytes
    published_at: float


def digest_of(data: msgspec.Struct | JsonObject) -> bytes:
    """Return what tells one payload from another, in whatever order its fields stand.

    Raises:
        FeedError: It is nested so deep that it could just be read.
    """
    try:
        encoded = _encode(data)
    except RecursionError as error:  # more calls stand above this one than above the decoder
        raise too_deep("$.data") from error
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest()


class RecentKeys:
    """The keys of two minutes, bounded: past the limit the oldest goes.

    Args:
        max_keys: The limit.
    """

    __slots__ = ("_evictions", "_max_keys", "_publications")

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._publications: dict[PublishKey, Publication] = {}  # the latest at the end
        self._evictions = 0

    def __len__(self) -> int:
        return len(self._publications)

    def saved(self, now: float, cut_id: int) -> Iterator[SavedKey]:
        """Return the publishes up to an ID, oldest first; more may come meanwhile."""
        for name in list(self._publications):
            known = self._publications.get(name)
            if known is not None and known.event_id <= cut_id:
                age = now - known.published_at
                yield SavedKey(*name, pack_id(known.event_id), known.digest, age)

    def restore(self, saved: SavedKey, now: float) -> None:
        """Take over what was saved, oldest first."""
        name = PublishKey(saved.key, saved.event_type, saved.user_id)
        published_at = now - saved.age_seconds
        self.remember(name, Publication(unpack_id(saved.event_id), saved.digest, published_at))

    def find(self, key: PublishKey, digest: bytes, now: float) -> int | None:
        """Return the ID under which this was published, None when it was not.

        Args:
            key: The feed's, with what it is unique for.
            digest: Of the payload, from `digest_of`.
            now: Monotonic seconds.

        Raises:
            FeedError: Something else was published under this key.
        """
        self._forget_old(now)
        known = self._publications.get(key)
        if known is None:
            return None
        if known.digest != digest:
            words = "Other data was published under this `key` within two minutes"
            raise FeedError(FeedErrorCode.INVALID_MESSAGE, words, path="$.key")
        return known.event_id

    def remember(self, key: PublishKey, publication: Publication) -> None:
        """Remember a publish; later than any remembered before."""
        self._publications[key] = publication
        if len(self._publications) > self._max_keys:
            del self._publications[next(iter(self._publications))]
            self._evictions += 1

    def take_evictions(self) -> int:
        """Return how many keys went past the limit since the last call."""
        evictions, self._evictions = self._evictions, 0
        return evictions

    def _forget_old(self, now: float) -> None:
        publications = self._publications
        while publications:
            key, oldest = next(iter(publications.items()))
            if now - oldest.published_at < REMEMBERED_SECONDS:
                return
            del publications[key]
