"""A process that stands for election and sends notifications while it leads.

    python -m tests.support.notifier <etcd endpoint> <name>

It runs until it is killed; who leads is the value of the first key under `ELECTION`.
"""

import asyncio
import sys

from lpmos.control.notify.senders import Senders
from lpmos.core.clock import utc_now
from lpmos.core.duties import Duties
from lpmos.store.election import ELECTIONS
from lpmos.store.etcd import EtcdStore
from tests.support.notifications import Notifications

ELECTION = f"{ELECTIONS}control-plane/"


async def main() -> None:
    endpoint, name = sys.argv[1:]
    store = await EtcdStore.connect([endpoint])
    notifications = Notifications(store, utc_now, Senders(utc_now))
    async with asyncio.TaskGroup() as group:
        group.create_task(notifications.mirror.run())
        await notifications.mirror.wait_ready()
        group.create_task(Duties(store, name, notifications.duties).run())


if __name__ == "__main__":
    asyncio.run(main())
