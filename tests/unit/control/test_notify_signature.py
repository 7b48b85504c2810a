"""The signature against the published example of the Standard Webhooks libraries."""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.notify.signature import signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP_S = 1614265330
BODY = b'{"test": 2432232314}'
PUBLISHED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PAGE = Path(__file__).parents[3] / "docs/reference/webhooks.md"


def documented() -> Callable[..., dict[str, Any]]:
    """The function `verified` of the documentation, as a reader would copy it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - it is our own page
    function: Callable[..., dict[str, Any]] = names["verified"]
    return function


def test_signature_is_the_published_one() -> None:
    headers = signed_headers([SECRET], MESSAGE_ID, TIMESTAMP_S, BODY)
    assert headers == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": PUBLISHED,
    }


def test_signature_by_two_secrets_has_both() -> None:
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    signature = signed_headers([other, SECRET], MESSAGE_ID, TIMESTAMP_S, BODY)["webhook-signature"]
    assert len(signature.split(" ")) == 2
    assert signature.endswith(" " + PUBLISHED)


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=200))
def test_signature_of_any_body_is_the_hmac_of_its_parts(key: bytes, body: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    signature = signed_headers([secret], "id", 7, body)["webhook-signature"]
    expected = hmac.digest(key, b"id.7." + body, hashlib.sha256)
    assert signature == "v1," + base64.b64encode(expected).decode()


def test_documented_check_takes_what_is_signed() -> None:
    headers = signed_headers([SECRET], MESSAGE_ID, TIMESTAMP_S, BODY)
    assert documented()(headers, BODY, SECRET, now_s=TIMESTAMP_S + 9) == {"test": 2432232314}


@pytest.mark.parametrize(
    ("change", "body", "now_s"),
    [
        ({}, b'{"test": 1}', TIMESTAMP_S),
        ({}, BODY, TIMESTAMP_S + 301),
        ({"webhook-id": "other"}, BODY, TIMESTAMP_S),
        ({"webhook-timestamp": str(TIMESTAMP_S + 1)}, BODY, TIMESTAMP_S),
        ({"webhook-signature": "v1,AAAA"}, BODY, TIMESTAMP_S),
        ({"webhook-signature": ""}, BODY, TIMESTAMP_S),
    ],
)
def test_documented_check_refuses_what_was_changed_or_is_old(
    change: dict[str, str], body: bytes, now_s: int
) -> None:
    headers = signed_headers([SECRET], MESSAGE_ID, TIMESTAMP_S, BODY) | change
    with pytest.raises(ValueError, match=r"signature|old"):
        documented()(headers, body, SECRET, now_s=now_s)
