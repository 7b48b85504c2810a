"""Local versions in front of a mirror: one sequence of versions for who listens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.store.api import KV
from lpmos.store.mirror import Mirror
from lpmos.store.overlay import Overlay
from lpmos.store.sqlite import SqliteStore
from tests.support.following import following

KEY = "/os/dc1/machines/SN-1/task"
TIMEOUT_S = 30


class Seen:
    """A mirror with an overlay, and what a subscriber hears."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.mirror = Mirror(store, "/os/dc1/")
        self.overlay = Overlay(
            self.mirror, lambda _, stored: stored is None or stored.value == b"end"
        )
        self.heard: list[tuple[bytes | None, bytes | None]] = []
        self.overlay.subscribe(self._hear)

    def _hear(self, key: str, before: KV | None, after: KV | None) -> None:
        self.heard.append((_value(before), _value(after)))

    async def put(self, value: bytes) -> int:
        revision = await self.store.put(KEY, value)
        async with asyncio.timeout(TIMEOUT_S):
            await self.overlay.wait_for(revision)
        return revision

    @property
    def value(self) -> bytes | None:
        return _value(self.overlay.get(KEY))


def _value(kv: KV | None) -> bytes | None:
    return kv.value if kv else None


@pytest.fixture
async def seen(tmp_path: Path) -> AsyncIterator[Seen]:
    store = await SqliteStore.open(tmp_path / "store.db")
    seen = Seen(store)
    async with following(seen.mirror):
        yield seen
    await store.close()


async def test_show_stands_before_the_store_until_it_is_settled(seen: Seen) -> None:
    await seen.put(b"old")
    seen.overlay.show(KEY, b"local")
    await seen.put(b"half")
    assert seen.value == b"local"
    stored = seen.overlay.stored(KEY)
    assert stored is not None and stored.value == b"half"
    seen.overlay.settle(KEY, seen.overlay.revision + 1)
    assert seen.value == b"local"
    await seen.put(b"whole")
    assert seen.value == b"whole"
    assert seen.heard == [(None, b"old"), (b"old", b"local"), (b"local", b"whole")]


async def test_settle_of_a_revision_that_is_known_shows_the_store_at_once(seen: Seen) -> None:
    revision = await seen.put(b"old")
    seen.overlay.show(KEY, b"local")
    seen.overlay.settle(KEY, revision)
    assert seen.value == b"old"


async def test_show_gives_way_to_what_ends_it(seen: Seen) -> None:
    await seen.put(b"old")
    seen.overlay.show(KEY, b"local")
    await seen.put(b"end")
    assert seen.value == b"end"
    await seen.put(b"on")
    assert seen.value == b"on"


async def test_settle_of_a_key_that_is_not_shown_is_nothing(seen: Seen) -> None:
    seen.overlay.settle(KEY, 0)
    assert seen.heard == []
