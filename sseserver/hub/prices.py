"""The price stream: who wants which symbol, and what is held back for a window.

Below the threshold an update goes to its audiences at once. Above it, only the newest of each
symbol is kept, unencoded, until the window ends; it then takes an ID of its own at that time,
so that IDs keep rising along every connection (contract section 5).
"""

from collections.abc import Callable, Sequence

from sseserver.config import BatchingConfig
from sseserver.delivery.audience import Audience
from sseserver.delivery.conflation import RateGate
from sseserver.events import Quote
from sseserver.wire.sse_frame import FrameEncoder


class PriceFanout:
    """Audiences of the price stream by symbol, and the quotes held back for them.

    Args:
        batching: Threshold of the sliding second.
        frames: Encodes a quote once for all audiences.
    """

    __slots__ = ("_all", "_by_symbol", "_frames", "_gate", "conflated", "held")

    def __init__(self, batching: BatchingConfig, frames: FrameEncoder) -> None:
        self._gate = RateGate(batching.threshold_per_second)
        self._frames = frames
        self._all: list[Audience] = []
        self._by_symbol: dict[str, list[Audience]] = {}
        self.held: dict[str, Quote] = {}
        self.conflated = 0

    def configure(self, batching: BatchingConfig) -> None:
        """Take a new threshold; the sliding second starts anew."""
        self._gate = RateGate(batching.threshold_per_second)

    def add(self, audience: Audience, symbols: frozenset[str] | None) -> None:
        """Let an audience receive these symbols; None for all."""
        if symbols is None:
            self._all.append(audience)
            return
        for symbol in symbols:
            self._by_symbol.setdefault(symbol, []).append(audience)

    def remove(self, audience: Audience, symbols: frozenset[str] | None) -> None:
        """Undo `add`."""
        if symbols is None:
            self._all.remove(audience)
            return
        for symbol in symbols:
            audiences = self._by_symbol[symbol]
            audiences.remove(audience)
            if not audiences:
                del self._by_symbol[symbol]

    def publish(self, quote: Quote, now: float) -> bool:
        """Queue an update for its audiences, or hold it back; True when it is held back."""
        if self._gate.admits(now):
            self.held.pop(quote.symbol, None)
            self._push(quote)
            return False
        if self._all or quote.symbol in self._by_symbol:
            if quote.symbol in self.held:
                self.conflated += 1
            self.held[quote.symbol] = quote
            return True
        # Nobody is there to be sent it, and who comes until the window ends has it already.
        self.held.pop(quote.symbol, None)
        return False

    def release(self, next_id: Callable[[], int]) -> None:
        """Queue everything held back, each under a new ID."""
        held, self.held = self.held, {}
        for quote in held.values():
            quote.id = next_id()
            quote.frame = None
            self._push(quote)

    def _push(self, quote: Quote) -> None:
        some: Sequence[Audience] = self._by_symbol.get(quote.symbol, ())
        if not self._all and not some:
            return
        frame = self._frames.quote_frame(quote)
        for audience in self._all:
            audience.push(frame, quote.id, quote.received)
        for audience in some:
            audience.push(frame, quote.id, quote.received)
