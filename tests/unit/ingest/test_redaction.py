"""Tests for `sseserver.ingest.redaction`."""

from typing import Any

import pytest

from sseserver.config import RedactionConfig
from sseserver.errors import FeedError, FeedErrorCode
from sseserver.ingest.redaction import MAX_LEVELS, MAX_REMEMBERED_KEYS, REDACTED, Redactor

DEFAULTS = RedactionConfig()


def redactor(
    *,
    secret_keys: tuple[str, ...] = DEFAULTS.secret_keys,
    internal_prefixes: tuple[str, ...] = DEFAULTS.internal_prefixes,
) -> Redactor:
    """Return a redactor with the default configuration where nothing else is asked for."""
    return Redactor(secret_keys, internal_prefixes)


def nested(levels: int, innermost: object) -> dict[str, Any]:
    """Return an object whose nesting, lists and objects in turn, has so many levels."""
    value: Any = innermost
    for level in range(levels, 1, -1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


@pytest.mark.parametrize(
    "key",
    [
        "apiKey", "api_key", "API-KEY", "api key", "api.key", "x-api-key", "api-keys", "ApiKeyS",
        "token", "tokens", "TOKEN", "accessToken", "access_token", "refreshToken", "csrf-token",
        "secret", "secrets", "clientSecret",
        "password", "userPassword", "user_passwords", "PASSWORD_", "__password__",
        "passphrase", "passphrases",
        "authorization", "Authorization", "Proxy-Authorization",
        "cookie", "Set-Cookie", "cookies",
        "privateKey", "PRIVATE_KEYS",
        "credential", "credentials", "awsCredentials",
        "\uff50\uff41\uff53\uff53\uff37\uff4f\uff52\uff44",  # full-width passWord
        "pass\u200bword", "to\u00adken", "ap\u0130Key",  # zero width, soft hyphen, dotted I
    ],
)  # fmt: skip
def test_a_secret_key_counts_in_any_spelling(key: str) -> None:
    """Case, separators, what stands before and a plural s do not hide a secret key."""
    assert redactor().is_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        "", "s", "-", "secretary", "secretariat", "tokenize", "token_count", "tokenId", "keys",
        "key", "private", "api", "apiKeyId", "passwordless", "cookiecutter", "authorizationId",
        "authorized", "credentialed", "passw0rd", "orderId", "symbol", "tokenss", "\u4ee4\u724c",
    ],
)  # fmt: skip
def test_a_key_that_only_looks_like_one_does_not(key: str) -> None:
    """A key counts by its end, not by what it contains."""
    assert not redactor().is_secret(key)


@pytest.mark.parametrize(
    "value", ["s3cret", "", 5, 1.5, True, None, [], ["a"], {}, {"a": {"b": "c"}}, REDACTED]
)
def test_the_value_of_a_secret_key_is_replaced_whole(value: object) -> None:
    """Whatever stands under a secret key goes, also an object or a number."""
    assert redactor().redact({"token": value}) == {"token": "[REDACTED]"}


def test_secrets_go_at_any_depth() -> None:
    """Objects in lists in objects are searched, and the keys keep their spelling."""
    value = {
        "orderId": "o-1",
        "details": {
            "broker": [{"name": "x", "API-Key": "a"}, [{"clientSecret": ["b"]}]],
            "Cookie": {"session": "c"},
        },
    }

    assert redactor().redact(value) == {
        "orderId": "o-1",
        "details": {
            "broker": [{"name": "x", "API-Key": REDACTED}, [{"clientSecret": REDACTED}]],
            "Cookie": REDACTED,
        },
    }


def test_internal_fields_are_left_out_at_any_depth() -> None:
    """A key with an internal prefix goes with all that it holds, secret or not."""
    value = {"_id": 1, "a": [{"_token": "x", "b": {"__v": 0, "c_": 1}}], "_": {}}

    assert redactor().redact(value) == {"a": [{"b": {"c_": 1}}]}


def test_nothing_else_is_changed() -> None:
    """Values of every kind, the order of keys and empty containers stay."""
    value = {"z": None, "a": [1, 2.5, "x", True, [], {}, [[]]], "m": {"n": "token"}}

    redacted = redactor().redact(value)

    assert (value, list(value)) == (redacted, list(redacted))


def test_the_original_is_not_touched() -> None:
    """The result is a copy in which nothing that can change is shared."""
    value = {"token": "x", "a": {"_b": [1]}, "c": [{"d": 1}]}

    redacted = redactor().redact(value)
    redacted["a"]["new"] = redacted["c"][0]["new"] = 1
    redacted["c"].append(1)

    assert value == {"token": "x", "a": {"_b": [1]}, "c": [{"d": 1}]}


def test_the_keys_are_those_of_the_configuration() -> None:
    """A list of one's own replaces the default, and is matched in the same way."""
    own = redactor(secret_keys=("PIN code", "answers"), internal_prefixes=("x-", "tmp"))

    assert own.redact(
        {"pin_codes": 1, "myPinCode": 2, "answer": 3, "ANSWERS": 4, "token": 5, "_a": 6}
        | {"x-b": 7, "tmp": 8, "X-c": 9}
    ) == {
        "pin_codes": REDACTED,
        "myPinCode": REDACTED,
        "answer": 3,
        "ANSWERS": REDACTED,
        "token": 5,
        "_a": 6,
        "X-c": 9,
    }


def test_without_keys_and_prefixes_everything_passes() -> None:
    """Both lists may be empty."""
    value = {"token": "x", "_id": 1}

    assert value == redactor(secret_keys=(), internal_prefixes=()).redact(value)


@pytest.mark.parametrize(
    ("secret_keys", "internal_prefixes"), [(("",), ()), (("_-",), ()), ((), ("",))]
)
def test_a_rule_that_would_match_everything_is_a_bug(
    secret_keys: tuple[str, ...], internal_prefixes: tuple[str, ...]
) -> None:
    """The configuration refuses such rules, so none arrives here."""
    with pytest.raises(AssertionError):
        Redactor(secret_keys, internal_prefixes)


@pytest.mark.parametrize("innermost", [{"token": "x"}, [{}]])
def test_nesting_is_followed_to_the_limit(innermost: object) -> None:
    """Objects and lists of `MAX_LEVELS` levels in all are redacted to the bottom."""
    levels = MAX_LEVELS - (1 if isinstance(innermost, dict) else 2)

    text = str(redactor().redact(nested(levels, innermost)))

    assert ("{'token': '[REDACTED]'}" in text) == isinstance(innermost, dict)


@pytest.mark.parametrize("innermost", [{}, []])
def test_nesting_past_the_limit_is_refused(innermost: object) -> None:
    """One level more is an invalid message, not a deeper stack."""
    with pytest.raises(FeedError) as caught:
        redactor().redact(nested(MAX_LEVELS, innermost), "$.data")

    assert (caught.value.code, caught.value.path) == (FeedErrorCode.INVALID_MESSAGE, "$.data")
    assert caught.value.message == "Expected objects and lists within 200 levels"


def test_a_feed_of_ever_new_keys_is_judged_rightly() -> None:
    """Keys beyond what is remembered are judged all the same, and take no more memory."""
    judge = redactor()
    keys = [f"key{number}" for number in range(MAX_REMEMBERED_KEYS)]
    long = "x" * 1000
    value = {"token": 1, f"{long}Token": 2, long: 3, f"_{long}": 4} | dict.fromkeys(keys, 5)

    for _ in range(2):
        assert judge.redact(value) == {
            "token": REDACTED,
            f"{long}Token": REDACTED,
            long: 3,
        } | dict.fromkeys(keys, 5)
        assert len(judge._verdicts) <= MAX_REMEMBERED_KEYS
        assert long not in judge._verdicts
