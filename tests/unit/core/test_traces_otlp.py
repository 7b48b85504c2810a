"""What a collector's silence is to who sends."""

import asyncio

import httpx
import msgspec
import pytest

from lpmos.core.traces import otlp
from lpmos.core.traces.outgoing import Outgoing
from tests.support.builders import make_span
from tests.support.region import until

URL = "http://collector.invalid/v1/traces"


async def test_collector_that_never_ends_its_answer_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(otlp, "TIMEOUT_S", 0.01)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(otlp.CollectorAway):
            await otlp.send(client, URL, b"")


async def test_trace_that_cannot_be_written_is_dropped_and_ends_nothing() -> None:
    outgoing = Outgoing(URL)
    outgoing.add((msgspec.structs.replace(make_span(), trace_id="no hex"),))
    sending = asyncio.create_task(outgoing.run())
    await until(lambda: not outgoing.waiting, "it to be dropped")
    assert outgoing.dropped == 1 and not sending.done()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
