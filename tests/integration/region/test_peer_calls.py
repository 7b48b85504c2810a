"""The signed words between clients over HTTP: what another signed, or nobody, changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from lpmos.model.promises import Answer, Ask
from lpmos.region.answers import error_middleware
from lpmos.region.peer_calls import KIND_ANSWER, KIND_ASK, PATH, NoAnswer, SignedCalls
from lpmos.region.signing import Signer, Signers
from lpmos.store import keys, records
from lpmos.store.api import KV
from tests.support.served import served

ASK = Ask(
    asker="a",
    to="b",
    nonce="n",
    challenge="",
    term=0,
    serving=True,
    members=("a", "b"),
    revision=1,
)


class Place:
    """The keys of two clients, and a third that the region does not know; b answers."""

    def __init__(self, directory: Path) -> None:
        self.signers = {each: Signer.load(directory / each, each) for each in "abx"}
        self.heard: list[Ask] = []
        self.speaks_as = "b"
        self.url = ""

    def stored(self, key: str) -> KV | None:
        for name in "ab":
            signer = self.signers[name]
            if key == keys.signer("dc1", signer.key_id):
                return KV(key, records.encode(signer.public), 1, 1, 1)
        return None

    def calls(self, name: str) -> SignedCalls:
        signer = self.signers[name]
        return SignedCalls(signer, Signers(signer, self.stored, idc="dc1"))

    async def answer(self, ask: Ask) -> Answer:
        self.heard.append(ask)
        return Answer(by=self.speaks_as, to=ask.asker, nonce=ask.nonce, refusal=None, challenge="c")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = await asyncio.to_thread(Place, tmp_path)
    app = web.Application(middlewares=[error_middleware(idc="dc1")])
    app.add_routes([made.calls("b").route(made.answer)])
    async with served(app) as made.url:
        yield made


async def test_ask_is_heard_as_it_was_said_and_answered(place: Place) -> None:
    answer = await place.calls("a").ask(place.url, ASK)
    assert (answer.by, answer.nonce, answer.refusal) == ("b", "n", None)
    assert place.heard == [ASK]


@pytest.mark.parametrize("signed_by", ["b", "x"])
async def test_ask_that_another_signed_is_refused(place: Place, signed_by: str) -> None:
    with pytest.raises(NoAnswer, match="401"):
        await place.calls(signed_by).ask(place.url, ASK)
    assert not place.heard


async def test_answer_that_speaks_for_another_is_not_taken(place: Place) -> None:
    place.speaks_as = "c"
    with pytest.raises(NoAnswer, match="another client than it speaks for"):
        await place.calls("a").ask(place.url, ASK)


@pytest.mark.parametrize("body", [b"", b"x", b"\xff" * 50, b"a" * 5000])
async def test_body_that_is_no_ask_is_refused(place: Place, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(place.url + PATH, data=body) as response,
    ):
        assert response.status == 401
    assert not place.heard


@pytest.mark.parametrize("kind", [KIND_ANSWER, "agent-nonce"])
async def test_word_of_another_kind_is_refused(place: Place, kind: str) -> None:
    token = place.signers["a"].sign(kind, b"[]")
    async with (
        aiohttp.ClientSession() as session,
        session.post(place.url + PATH, data=token) as response,
    ):
        assert response.status == 401
    assert kind != KIND_ASK


async def test_nobody_there_is_no_answer(place: Place) -> None:
    with pytest.raises(NoAnswer):
        await place.calls("a").ask("http://127.0.0.1:1", ASK)
