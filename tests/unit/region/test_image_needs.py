"""Which systems a region's unfinished tasks need, so that their images stay."""

from pathlib import Path

from lpmos.core.fleet import Fleet
from lpmos.model.lifecycle import Status
from lpmos.region.image_fetching import needed_systems
from lpmos.store import keys, records
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import make_task
from tests.support.following import following


async def test_the_tasks_are_known_only_while_the_store_answers(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    done = make_task(
        task_id="0b0b6f5e-0000-4000-8000-000000000002",
        sn="SN-2",
        os_version="13",
        status=Status.CANCELLED,
    )
    for each in (make_task(), done):
        await store.put(keys.task(each.idc, each.sn), records.encode(each))
    mirror = Mirror(store, keys.ROOT)
    fleet = Fleet(mirror)
    assert needed_systems(fleet) is None
    async with following(mirror):
        assert needed_systems(fleet) == frozenset({("debian", "12")})
    assert fleet.listed
    assert needed_systems(fleet) is None
    await store.close()
