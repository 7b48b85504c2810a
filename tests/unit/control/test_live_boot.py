"""Who hears that more of a boot was seen: who asks for that of a named task, and nobody else."""

from contextlib import ExitStack

from lpmos.control.live.subscriptions import Subscription
from lpmos.model.evidence import Evidence, Sign
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_task
from tests.support.live_listener import HeldSink, LivePlane, live_plane, viewer

PENDING = make_task()
WANTED = Subscription(task_id=PENDING.task_id, types=("boot",))


async def see(plane: LivePlane) -> int:
    """Write evidence of the task's machine, and have the clients told; its revision."""
    seen = records.encode(Evidence(mac=MAC, asked=Sign(NOW)))
    revision = plane.store.put(keys.evidence(PENDING.idc, PENDING.sn), value=seen)
    await plane.catch_up(revision)
    plane.hub.flush()
    return revision


async def test_hub_tells_a_boot_only_to_who_asks_for_that_of_a_named_task() -> None:
    async with live_plane() as plane:
        wanted = (
            WANTED,
            Subscription(task_id=PENDING.task_id),
            Subscription(types=("boot",)),
            Subscription(task_id="another", types=("boot",)),
        )
        sinks = [HeldSink() for _ in wanted]
        await plane.tell(PENDING)
        with ExitStack() as stack:
            for sink, subscription in zip(sinks, wanted, strict=True):
                client = stack.enter_context(plane.hub.client(sink, viewer()))
                plane.hub.subscribe(client, subscription)
            revision = await see(plane)
        heard = [[each for each in sink.news() if each["type"] == "boot"] for sink in sinks]
        told = {"type": "boot", "task_id": PENDING.task_id, "revision": revision}
        assert heard == [[told], [], [], []]


async def test_hub_that_nobody_follows_a_boot_of_keeps_none() -> None:
    async with live_plane() as plane:
        await plane.tell(PENDING)
        before = plane.hub.revision()
        await see(plane)
        sink = HeldSink()
        with plane.hub.client(sink, viewer()) as client:
            again = Subscription(task_id=PENDING.task_id, types=("boot",), from_revision=before)
            plane.hub.subscribe(client, again)
            plane.hub.flush()
        assert [each["type"] for each in sink.news()] == ["subscribed"]


async def test_hub_tells_another_tenants_user_nothing_of_a_boot() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        await plane.tell(PENDING)
        with plane.hub.client(sink, viewer(tenant="a")) as client:
            plane.hub.subscribe(client, WANTED)
            await see(plane)
        assert [each["type"] for each in sink.news()] == ["subscribed"]
