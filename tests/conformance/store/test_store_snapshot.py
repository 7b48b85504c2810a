"""Snapshots: a whole copy at one revision, taken while others write."""

import asyncio
from pathlib import Path

import pytest

from lpmos.store.api import InvalidRequest, Put
from tests.support.stores import Backend


async def test_snapshot_restored_has_every_key_and_its_revisions(
    backend: Backend, tmp_path: Path
) -> None:
    store, prefix = backend.store, backend.prefix
    for number in range(20):
        await store.put(f"{prefix}{number % 7}", b"%d" % number)
    await store.delete(prefix + "3")
    before = await store.range(prefix)
    await store.snapshot(tmp_path / "copy")
    await store.put(prefix + "0", b"after")
    restored = await backend.restore(tmp_path / "copy")
    page = await restored.range(prefix)
    assert page.kvs == before.kvs
    assert await restored.put(prefix + "0", b"") > before.revision


async def test_snapshot_while_writing_is_one_revision(backend: Backend, tmp_path: Path) -> None:
    """Two keys are only ever written together, so no copy may have them apart."""
    store, prefix = backend.store, backend.prefix
    acknowledged = 0
    busy, done = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        nonlocal acknowledged
        number = 0
        while not done.is_set():
            number += 1
            await store.txn([], [Put(prefix + name, b"%d" % number) for name in "ab"])
            acknowledged = number
            if number == 50:
                busy.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        await busy.wait()
        at_start = acknowledged
        await store.snapshot(tmp_path / "copy")
        done.set()
    restored = await backend.restore(tmp_path / "copy")
    a, b = (await restored.range(prefix)).kvs
    assert a.value == b.value
    assert at_start <= int(a.value) <= acknowledged


async def test_snapshot_onto_an_existing_file_is_refused(backend: Backend, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_bytes(b"precious")
    with pytest.raises(InvalidRequest):
        await backend.store.snapshot(target)
    assert target.read_bytes() == b"precious"
