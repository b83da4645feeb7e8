"""No secret survives redaction, and nothing but secrets is lost."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sseserver.config import RedactionConfig
from sseserver.ingest.redaction import REDACTED, Redactor

DEFAULTS = RedactionConfig()
SECRET = "hunter2"
SEPARATORS = ["", "-", "_", " ", ".", "/", "--", "\u200b"]


@st.composite
def secret_keys(draw: st.DrawFn) -> str:
    """Return a key of contract section 6 in some case and spelling, with something before it."""
    words = draw(st.sampled_from(DEFAULTS.secret_keys)).replace("_", "")
    plural = draw(st.sampled_from(["", "s"]))
    spelt = "".join(
        draw(st.sampled_from([letter, letter.upper()])) + draw(st.sampled_from(SEPARATORS))
        for letter in words + plural
    )
    before = draw(st.sampled_from(["", "user", "X-", "my_", "2", "\u00fc"]))
    return before + spelt


# These end in no secret key and begin with no internal prefix, whatever is drawn.
harmless_keys = st.one_of(
    st.sampled_from(["secretary", "tokenId", "orderId", "keys", "a", ""]),
    st.text(max_size=8).map(lambda text: f"k{text}0"),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def objects(keys: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return JSON objects, nested, whose keys are all drawn from `keys`."""
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=20,
    )
    return st.dictionaries(keys, values, max_size=5)


@st.composite
def planted(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an object with a secret somewhere in it, and what must become of it."""
    around = draw(objects(harmless_keys))
    key = draw(secret_keys())
    secret = draw(st.sampled_from([SECRET, [SECRET], {"a": {"b": [SECRET]}}]))
    given_value = around | {key: secret}
    wanted = around | {key: REDACTED}
    for step in draw(st.lists(harmless_keys | st.none(), max_size=30)):
        # None stands for a list around what there is, which then needs a key again.
        name = "list" if step is None else step
        given_value = {name: [given_value] if step is None else given_value}
        wanted = {name: [wanted] if step is None else wanted}
    return given_value, wanted


def redactor() -> Redactor:
    """Return a redactor with the default configuration."""
    return Redactor(DEFAULTS.secret_keys, DEFAULTS.internal_prefixes)


@given(planted())
def test_no_secret_survives_and_its_surroundings_do(
    case: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """A secret at any depth is replaced, and everything around it is what it was."""
    value, wanted = case

    assert wanted == redactor().redact(value)


@given(objects(harmless_keys))
def test_what_holds_no_secret_is_unchanged(value: dict[str, Any]) -> None:
    """Objects without secret keys come out as they went in, types included."""
    assert msgspec.json.encode(value) == msgspec.json.encode(redactor().redact(value))


@given(objects(secret_keys() | harmless_keys | st.text(max_size=8).map("_{}".format)))
def test_redacting_twice_is_redacting_once(value: dict[str, Any]) -> None:
    """What was redacted has nothing left to redact."""
    once = redactor().redact(value)

    assert once == redactor().redact(once)


@given(st.lists(secret_keys() | harmless_keys, max_size=10))
def test_what_is_remembered_changes_nothing(keys: list[str]) -> None:
    """A redactor that has seen other keys judges as a new one does."""
    used = redactor()

    assert [redactor().redact({key: 1}) for key in keys] == [used.redact({key: 1}) for key in keys]


@given(secret_keys() | st.text(st.characters(max_codepoint=127)))
def test_a_separator_anywhere_changes_no_verdict(key: str) -> None:
    """A key is judged by its letters and digits alone."""
    judge = redactor()

    assert judge.is_secret(key) == judge.is_secret("-_ ".join(key))
