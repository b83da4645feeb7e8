"""Tests for `sseserver.client.printable`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseserver.client.printable import escape_unprintable


def test_plain_text_is_unchanged() -> None:
    """Letters of any script, punctuation and spaces stay as they are."""
    assert "Größe 10 µm, 株価 ↑" == escape_unprintable("Größe 10 µm, 株価 ↑")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[2J", "\\u001b[2J"),  # a terminal command
        ("a\r\nb", "a\\r\\nb"),
        ("\x7f", "\\u007f"),
        ("\x9b31m", "\\u009b31m"),  # the same as one character of Latin-1
        ("\u202egnp.exe", "\\u202egnp.exe"),  # reverses what follows
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\udb40\\udc41"),  # an invisible letter, past 16 bits
    ],
)
def test_unprintable_characters_are_escaped(text: str, escaped: str) -> None:
    """Whatever a terminal would act on, or would not show, is written out."""
    assert escaped == escape_unprintable(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_json(text: str) -> None:
    """Escaping a JSON document does not change what it means."""
    document = json.dumps({"key": text}, ensure_ascii=False)

    assert {"key": text} == json.loads(escape_unprintable(document))


@given(st.text())
def test_the_result_is_printable(text: str) -> None:
    """Nothing unprintable is left, whatever came in."""
    assert escape_unprintable(text).isprintable()
