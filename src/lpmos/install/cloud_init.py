"""cloud-init's NoCloud seed in the new root, for a task that gives user-data.

The rule: the network stays the task's, so cloud-init is told to leave it alone; the instance is the
task, so that another installation of the machine is another instance.

Source: cloud-init's documentation of the NoCloud data source (`/var/lib/cloud/seed/nocloud`).
"""

import msgspec

from lpmos.model.installplan import PlannedFile
from lpmos.model.task import Task

SEED = "/var/lib/cloud/seed/nocloud"
CONFIG = "/etc/cloud/cloud.cfg.d/90-lpmos.cfg"
_DISABLED = "network: {config: disabled}\n"
_CONFIG = f"datasource_list: [NoCloud, None]\n{_DISABLED}"
NO_NETWORK = PlannedFile(path="/etc/cloud/cloud.cfg.d/90-lpmos-network.cfg", content=_DISABLED)
"""What keeps the hands of a cloud-init off the network that is there without being asked for."""


def files(task: Task, otherwise: str | None = None) -> tuple[PlannedFile, ...]:
    """The seed, which may hold what others must not read.

    `otherwise` is the user-data of a task that has none; without it there is no seed then.
    """
    user_data = task.setup.cloud_init.user_data if task.setup.cloud_init else otherwise
    if user_data is None:
        return ()
    meta = {"instance-id": task.task_id, "local-hostname": task.hostname}
    return (
        PlannedFile(path=f"{SEED}/user-data", content=user_data, mode=0o600),
        PlannedFile(path=f"{SEED}/meta-data", content=msgspec.json.encode(meta).decode() + "\n"),
        PlannedFile(path=CONFIG, content=_CONFIG),
    )
