"""What a client accepts: content codings and media types.

Elements of a list that are malformed are passed over, never a reason to refuse a request.

Source: RFC 9110 section 12.5; contract sections 2 and 4.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from sseserver.errors import RequestError

EVENT_STREAM: Final = "text/event-stream"

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - a token of the grammar
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")

_CODING: Final = re.compile(rf"({_TOKEN})[ \t]*+(?:;[ \t]*+[qQ]=({_WEIGHT.pattern}))?")

# A comma inside quotes does not end an element. Quotes that are never closed reach to the
# end; were that a failure, each of them would be searched again, at quadratic cost.
_ELEMENT: Final = re.compile(r'(?:[^",]++|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_PARAMETER: Final = rf"[ \t]*+;[ \t]*+(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?"
_PARAMETERS: Final = re.compile(_PARAMETER, re.DOTALL)
_MEDIA_RANGE: Final = re.compile(rf"({_TOKEN}/{_TOKEN})((?:{_PARAMETER})*+)", re.DOTALL)

_SPECIFICITY: Final = {"*/*": 0, "text/*": 1, EVENT_STREAM: 2}
"""The media ranges that hold an event stream; the most specific decides."""

_REMEMBERED: Final = 128
"""What browsers and libraries send is one of a few dozen texts."""


def choose_encoding(
    accept_encoding: str | None, offered: Sequence[str], preference: Sequence[str]
) -> str:
    """Return the content coding to send: one of `offered`, or `identity`.

    The one that the client gives the highest weight is taken. `identity` is taken when
    nothing offered is acceptable or when the client weighs it higher by name. Without
    `Accept-Encoding` anything would be allowed; but who does not ask gets plain bytes.

    Args:
        accept_encoding: Value of `Accept-Encoding`, several joined by commas.
        offered: What the configuration allows: `gzip`, `zstd`.
        preference: What serves this stream best, best first; decides between equal weights.

    Raises:
        RequestError: 406, everything offered and identity are excluded.

    Source: RFC 9110 section 12.5.3.
    """
    if accept_encoding is None:
        return "identity"
    weights = _coding_weights(accept_encoding)
    others = weights.get("*", 0.0)
    ranked = sorted(offered, key=lambda coding: _rank(coding, preference))
    best = max(ranked, key=lambda coding: weights.get(coding, others), default="identity")
    best_weight = weights.get(best, others)
    identity_weight = weights.get("identity", 0.0)
    if best != "identity" and best_weight > 0 and best_weight >= identity_weight:
        return best
    # Acceptable unless excluded, by name or by `*;q=0` without a name (RFC 9110 12.5.3).
    if weights.get("identity", weights.get("*", 1.0)) > 0:
        return "identity"
    raise RequestError(406, "Accept-Encoding excludes every coding offered, and identity")


def accepts_event_stream(accept: str | None) -> bool:
    """Return whether `Accept` lets the answer be an event stream.

    A client that names nothing takes anything. The parameters of a media range do not matter.

    Args:
        accept: Value of `Accept`, several joined by commas.

    Source: RFC 9110 section 12.5.1.
    """
    if accept is None:
        return True
    best = (-1, 0.0)
    names_anything = False
    for media_range, weight in _media_ranges(accept):
        names_anything = True
        best = max(best, (_SPECIFICITY.get(media_range, -1), weight))
    return not names_anything or (best[0] >= 0 and best[1] > 0)


def is_event_source(accept: str | None) -> bool:
    """Return whether `Accept` is what a browser's EventSource sends, and nothing else.

    Source: WHATWG HTML 9.2.2 (the request of an EventSource); contract section 4.
    """
    return accept is not None and accept.strip(" \t").lower() == EVENT_STREAM


@lru_cache(_REMEMBERED)
def _coding_weights(accept_encoding: str) -> Mapping[str, float]:
    weights: dict[str, float] = {}
    for element in accept_encoding.lower().split(","):
        match = _CODING.fullmatch(element.strip(" \t"))
        if match is not None:
            # RFC 9110 section 8.4.1.3: `x-gzip` is to be taken as `gzip`.
            coding = "gzip" if match[1] == "x-gzip" else match[1]
            weight = 1.0 if match[2] is None else float(match[2])
            weights[coding] = max(weight, weights.get(coding, 0.0))
    return weights


def _rank(coding: str, preference: Sequence[str]) -> int:
    return preference.index(coding) if coding in preference else len(preference)


@lru_cache(_REMEMBERED)
def _media_ranges(accept: str) -> Sequence[tuple[str, float]]:
    ranges: list[tuple[str, float]] = []
    for element in _ELEMENT.findall(accept.lower()):
        match = _MEDIA_RANGE.fullmatch(element.strip(" \t"))
        if match is None:
            continue
        parameters = dict(reversed(_PARAMETERS.findall(match[2])))
        weight = parameters.get("q", "1")
        if _WEIGHT.fullmatch(weight) is not None:
            ranges.append((match[1], float(weight)))
    return ranges
