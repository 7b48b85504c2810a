"""Who hears a task's log live: who asks for that of a named task, and nobody else."""

from contextlib import ExitStack

from msgspec.structs import replace

from lpmos.control.live.subscriptions import Subscription
from lpmos.core.taskstore import logged
from tests.support.builders import NOW, make_task
from tests.support.live_listener import HeldSink, live_plane, viewer

PENDING = make_task()


async def test_hub_tells_a_log_only_to_who_asks_for_that_of_a_named_task() -> None:
    async with live_plane() as plane:
        sinks = HeldSink(), HeldSink(), HeldSink(), HeldSink()
        wanted = (
            Subscription(task_id=PENDING.task_id, types=("log",)),
            Subscription(task_id=PENDING.task_id),
            Subscription(types=("log",)),
            Subscription(task_id="another", types=("log",)),
        )
        await plane.tell(PENDING)
        with ExitStack() as stack:
            for sink, subscription in zip(sinks, wanted, strict=True):
                client = stack.enter_context(plane.hub.client(sink, viewer()))
                plane.hub.subscribe(client, subscription)
            await plane.tell(logged(PENDING, NOW, "[INFO] a line"))
        heard = [[each for each in sink.news() if each["type"] == "log"] for sink in sinks]
        assert [len(each) for each in heard] == [1, 0, 0, 0]
        ((told,), *_) = heard
        assert (told["first"], [line[-6:] for line in told["lines"]]) == (1, ["a line"])


async def test_hub_that_nobody_follows_a_log_of_keeps_none() -> None:
    async with live_plane() as plane:
        await plane.tell(PENDING)
        wanted = Subscription(task_id=PENDING.task_id, types=("log",))
        with plane.hub.client(HeldSink(), viewer()) as client:
            plane.hub.subscribe(client, wanted)
            plane.hub.subscribe(client, Subscription(types=("status",)))
        sink = HeldSink()
        revision = plane.hub.revision()
        await plane.tell(logged(PENDING, NOW, "[INFO] a line"))
        with plane.hub.client(sink, viewer()) as client:
            again = replace(wanted, from_revision=revision)
            plane.hub.subscribe(client, again)
            plane.hub.flush()
        assert [each["type"] for each in sink.news()] == ["subscribed"]


async def test_hub_tells_another_tenants_user_nothing_of_a_log() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        await plane.tell(PENDING)
        with plane.hub.client(sink, viewer(tenant="a")) as client:
            plane.hub.subscribe(client, Subscription(task_id=PENDING.task_id, types=("log",)))
            await plane.tell(logged(PENDING, NOW, "[INFO] a line"))
        assert [each["type"] for each in sink.news()] == ["subscribed"]
