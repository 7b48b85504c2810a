"""The outbox: what was acknowledged is on the disk, in order, until the store has it."""

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.outbox import Outbox
from lpmos.store.api import NoSpace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def bodies(box: Outbox) -> list[tuple[str, bytes]]:
    return [(word.lane, await box.read(word)) for word in box.words()]


async def test_append_is_there_after_a_reopening_in_order(tmp_path: Path) -> None:
    box = await Outbox.open(tmp_path / "o.db")
    for number in range(5):
        await box.append(f"m{number % 2}", NOW, b"%d" % number)
    identity = box.id
    await box.close()
    again = await Outbox.open(tmp_path / "o.db")
    assert again.id == identity
    assert await bodies(again) == [(f"m{n % 2}", b"%d" % n) for n in range(5)]
    assert (again.count, again.size_bytes, again.oldest_at) == (5, 5, NOW)
    assert again.lanes() == ["m0", "m1"]
    await again.close()


async def test_number_of_a_word_is_never_used_again(tmp_path: Path) -> None:
    box = await Outbox.open(tmp_path / "o.db")
    seq = await box.append("m", NOW, b"a")
    word = box.first("m")
    assert word is not None
    await box.remove(word)
    assert (box.count, box.waits("m"), box.size_bytes) == (0, False, 0)
    await box.close()
    again = await Outbox.open(tmp_path / "o.db")
    assert await again.append("m", NOW, b"b") > seq
    await again.close()


async def test_appends_at_once_share_commits(tmp_path: Path) -> None:
    box = await Outbox.open(tmp_path / "o.db")
    await asyncio.gather(*(box.append(f"m{n}", NOW, b"x") for n in range(1000)))
    assert box.count == 1000
    assert box.commits <= 3
    await box.close()


async def test_append_beyond_the_limit_is_refused_and_a_replacing_one_is_not(
    tmp_path: Path,
) -> None:
    box = await Outbox.open(tmp_path / "o.db", limit_bytes=10)
    seq = await box.append("m", NOW, b"x" * 10)
    with pytest.raises(NoSpace, match="as much as it may"):
        await box.append("m", NOW, b"y")
    await box.append("m", NOW, b"z" * 10, replaces=seq)
    assert await bodies(box) == [("m", b"z" * 10)]
    await box.close()


async def test_append_whose_caller_left_is_kept_all_the_same(tmp_path: Path) -> None:
    box = await Outbox.open(tmp_path / "o.db")
    call = asyncio.create_task(box.append("m", NOW, b"x"))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await box.append("m", NOW, b"y")
    assert [body for _, body in await bodies(box)] == [b"x", b"y"]
    await box.close()


async def test_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    path.write_bytes(b"not a data base at all, but long enough to be read as one" * 100)
    box = await Outbox.open(path)
    await box.append("m", NOW, b"x")
    await box.close()
    aside = await asyncio.to_thread(lambda: list(tmp_path.glob("o.db.damaged-*")))
    assert len(aside) == 1


async def test_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "o.db").mkdir()
    with pytest.raises(sqlite3.OperationalError):
        await Outbox.open(tmp_path / "o.db")


actions = st.lists(
    st.tuples(st.sampled_from(["append", "remove", "reopen"]), st.sampled_from("ab"))
)


@given(actions=actions)
async def test_outbox_has_what_a_plain_list_would_have(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "o.db"
    box = await Outbox.open(path)
    expected: list[tuple[str, bytes]] = []
    for number, (action, lane) in enumerate(actions):
        if action == "append":
            await box.append(lane, NOW, b"%d" % number)
            expected.append((lane, b"%d" % number))
        elif action == "remove" and (word := box.first(lane)):
            await box.remove(word)
            expected.remove(next(each for each in expected if each[0] == lane))
        elif action == "reopen":
            await box.close()
            box = await Outbox.open(path)
    assert await bodies(box) == expected
    await box.close()
