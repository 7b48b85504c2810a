"""Which URLs of services are taken, what people read, and that errors hold nothing of the URL."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.notify.service import ServiceSender, without_parts
from lpmos.control.notify.text import text_of
from lpmos.core.clock import utc_now

PAYLOAD = {
    "type": "task.failed",
    "timestamp": "2026-01-02T03:04:05Z",
    "data": {
        "event_id": "E1",
        "target": "task/1",
        "by": "region:dc1",
        "idc": "dc1",
        "sn": "SN-1",
        "reason": "the disk is too small",
        "after": {"status": "failed"},
        "task": {"task_id": "1", "hostname": "sn-1", "os_type": "debian", "status": "failed"},
        "links": {"self": "https://lpmos.example.com/api/v1/tasks/1"},
    },
}


def test_text_says_what_happened_where_and_why() -> None:
    text = text_of(msgspec.json.encode(PAYLOAD))
    assert text.title == "LPMOS: task.failed SN-1 dc1"
    assert text.body.splitlines() == [
        "reason: the disk is too small",
        "by: region:dc1",
        "idc: dc1",
        "sn: SN-1",
        "hostname: sn-1",
        "os_type: debian",
        "status: failed",
        "https://lpmos.example.com/api/v1/tasks/1",
        "2026-01-02T03:04:05Z E1",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "mailto://me:secret@mail.example.com?to=you@example.com",
        "mailto://mail.example.com/?from=a@example.com&to=b@example.com",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
        "json://192.0.2.1:8080/hook",
    ],
)
async def test_url_of_a_service_is_taken(url: str) -> None:
    sender = ServiceSender(utc_now)
    assert await sender.refusal(url, None) is None
    await sender.close()


@pytest.mark.parametrize(
    "url",
    [
        "nothing://host", "json://", "slack://x", "mailto://", "://", "plain text",
        "syslog://", "dbus://", "windows://", "file:///etc/passwd",
        "json://192.0.2.1/?verify=no", "json://192.0.2.1/?rto=900", "json://192.0.2.1/?CTO=900",
        "json://192.0.2.1/?redirect=yes", "fcm://project/token/?keyfile=/etc/passwd",
    ],
)  # fmt: skip
async def test_url_of_no_service_or_that_undoes_our_bounds_is_refused(url: str) -> None:
    sender = ServiceSender(utc_now)
    assert await sender.refusal(url, None)
    await sender.close()


@pytest.mark.parametrize("url", ["json://10.0.0.1/", "mailto://a:b@mail.example.com"])
async def test_url_of_a_tenant_names_no_host_of_its_own(url: str) -> None:
    sender = ServiceSender(utc_now)
    assert "slack" in (await sender.refusal(url, "blue") or "")
    slack = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"
    assert await sender.refusal(slack, "blue") is None
    await sender.close()


def test_error_has_nothing_of_the_url_in_it() -> None:
    url = "mailto://me:s%40cret-word@mail.example.com:25/?to=you@example.com"
    said = 'login as me with "s@cret-word" at mail.example.com:25 failed'
    assert without_parts(said, url) == 'login as me with "s@…" at …:25 failed'


@given(st.text(alphabet=st.characters(codec="ascii"), min_size=4, max_size=30))
def test_error_with_any_token_of_the_url_is_without_it(token: str) -> None:
    words = [word for word in token.split() if len(word) >= 4]
    for word in words:
        if not set(word) & set("/:@?&=,;#+%"):
            assert word not in without_parts(f"it said {word} there", f"slack://{word}/x")
