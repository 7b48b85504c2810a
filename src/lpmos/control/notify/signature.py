"""The signature of a message, as the Standard Webhooks specification (1.0.0) has it.

Three headers: `webhook-id`, the same at every try; `webhook-timestamp`, of this try in seconds;
`webhook-signature`, for each secret `v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`,
with blanks between. The key is what stands in base64 behind `whsec_` in the secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

from lpmos.core.notifications.webhooks import SECRET_MARK


def signed_headers(
    secrets: Iterable[str], message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """The headers that prove where a message comes from.

    Args:
        secrets: `whsec_…`, each signs.
        message_id: the id of the message.
        timestamp_s: the time of this try, in seconds since 1970.
        body: the bytes that are sent.
    """
    content = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{_signature(secret, content)}" for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_MARK))
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
