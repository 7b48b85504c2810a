"""Mail through a real SMTP server, chat through a real HTTP receiver: both by the library."""

from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from lpmos.control.notify.senders import Senders
from lpmos.core.clock import utc_now
from lpmos.core.notifications.webhooks import Letter
from tests.support.etcd import free_port
from tests.support.receiver import receiving, status

MESSAGE = {
    "type": "task.pending_approval",
    "timestamp": "2026-01-02T03:04:05Z",
    "data": {"event_id": "E1", "target": "task/1", "sn": "SN-1", "idc": "dc1", "by": "region:dc1"},
}


class Mailbox:
    """What an SMTP server was given; `refuses` is what it answers instead of taking it."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refuses = ""

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refuses:
            return self.refuses
        self.envelopes.append(envelope)
        return "250 taken"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def smtp(mailbox: Mailbox) -> AsyncIterator[str]:
    """The address of an SMTP server."""
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield f"{controller.hostname}:{controller.port}"
    controller.stop()


@pytest.fixture
async def senders() -> AsyncIterator[Senders]:
    senders = Senders(utc_now)
    yield senders
    await senders.close()


def letter(url: str) -> Letter:
    return Letter(url=url, message_id="E1", payload=msgspec.json.encode(MESSAGE))


async def test_mail_arrives_as_text(mailbox: Mailbox, smtp: str, senders: Senders) -> None:
    url = f"mailto://{smtp}/?from=lpmos@example.com&to=ops@example.com,night@example.com"
    assert await senders.refusal(url, None) is None
    outcome = await senders.send(letter(url))
    assert outcome.accepted, outcome.attempt.error
    recipients = {each for envelope in mailbox.envelopes for each in envelope.rcpt_tos}
    assert recipients == {"ops@example.com", "night@example.com"}
    assert isinstance(mailbox.envelopes[0].content, bytes)
    mail = message_from_bytes(mailbox.envelopes[0].content, policy=default)
    assert mail["subject"] == "LPMOS: task.pending_approval SN-1 dc1"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "by: region:dc1" in body.get_content()


async def test_mail_that_is_refused_is_said_without_the_url(
    mailbox: Mailbox, smtp: str, senders: Senders
) -> None:
    mailbox.refuses = "554 not from you"
    outcome = await senders.send(
        letter(f"mailto://{smtp}/?from=lpmos@example.com&to=0ps.s3cret@example.com")
    )
    assert not outcome.accepted
    assert outcome.attempt.error
    assert "s3cret" not in outcome.attempt.error


async def test_mail_to_nobody_listening_is_said(senders: Senders) -> None:
    url = f"mailto://127.0.0.1:{free_port()}/?from=lpmos@example.com&to=ops@example.com"
    outcome = await senders.send(letter(url))
    assert not outcome.accepted
    assert outcome.attempt.error


async def test_chat_message_arrives(senders: Senders) -> None:
    async with receiving() as receiver:
        outcome = await senders.send(letter(receiver.url.replace("http://", "json://") + "/room"))
    assert outcome.accepted, outcome.attempt.error
    (received,) = receiver.received
    assert received.path == "/room"
    assert msgspec.json.decode(received.body)["title"] == "LPMOS: task.pending_approval SN-1 dc1"
    assert "webhook-signature" not in received.headers


@pytest.mark.parametrize("code", [500, 302])
async def test_chat_that_refuses_or_redirects_is_a_failure(senders: Senders, code: int) -> None:
    async with receiving() as other, receiving() as receiver:
        receiver.answer = status(code, headers={"Location": other.url})
        url = receiver.url.replace("http://", "json://") + "/S3CRET-R00M"
        outcome = await senders.send(letter(url))
    assert not outcome.accepted
    assert str(code) in (outcome.attempt.error or "")
    assert "S3CRET" not in (outcome.attempt.error or "")
    assert other.received == []
