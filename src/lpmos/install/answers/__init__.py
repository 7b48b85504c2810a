"""Answer files of the distributions' own installers: one module per family, from one task.

A family is a row in `FAMILIES` and a template beside it. The rule: a module says a plan whole or
refuses it by name, and encodes every text for the place it stands in; the template, the package's
own or an operator's of the same name in the store, only arranges.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from lpmos.install.answers import debian, quoting, rhel, suse, ubuntu, windows
from lpmos.install.answers.family import Answers
from lpmos.install.answers.order import InstallerUrls, order_of
from lpmos.model import installerlimits
from lpmos.model.diskplan import DiskPlan
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.installer import Family, InstallerManifest
from lpmos.model.inventory import Inventory
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task

__all__ = [
    *("FAMILIES", "TEMPLATE_NAMES", "InstallerUrls", "default_template", "meta_data"),
    *("plan_problems", "render", "variables"),
]

FAMILIES: Mapping[Family, Answers] = MappingProxyType(
    {module.ANSWERS.family: module.ANSWERS for module in (debian, ubuntu, rhel, suse, windows)}
)
TEMPLATE_NAMES: Mapping[Family, str] = MappingProxyType(
    {family: each.template for family, each in FAMILIES.items()}
)
"""What a template must be called in the store to go before the package's own."""

_HIDDEN = (
    *("intent", "logs", "progress", "status_history", "hardware", "plan", "approval"),
    *("setup", "first_boot_sha256", "network_config", "ssh_keys"),
)
"""What of a task says nothing to a template that its other variables do not say better."""


def variables(
    task: Task,
    manifest: InstallerManifest,
    urls: InstallerUrls,
    secrets: TaskSecrets = TaskSecrets(),  # noqa: B008 - immutable
) -> dict[str, Any]:
    """What the template of a family sees, every text in the form of its place.

    Raises:
        InvalidInput: the task has no disk plan, or this installer cannot make what it says; each
            reason is named.
    """
    from lpmos.core import rendering  # few regions use it, and it loads much

    answers = FAMILIES[manifest.family]
    order = order_of(task, manifest, urls, secrets)
    if problems := plan_problems(manifest, order.disks, task.hardware):
        raise InvalidInput(*problems)
    plain, ready = answers.values(order)
    about = {**plain, "task": rendering.plain(task, *_HIDDEN)}
    encoded: dict[str, Any] = quoting.each(about, answers.encode)
    return {**encoded, **ready}


def render(family: Family, variables: Mapping[str, Any], template: str | None = None) -> str:
    """An answer file.

    Args:
        family: whose it is.
        variables: what `variables` made.
        template: the operator's, in place of the package's own.

    Raises:
        InvalidInput: the template cannot be rendered; the line and the reason are named.
    """
    from lpmos.core import rendering  # as above

    content = default_template(family) if template is None else template
    return rendering.render(content, variables)


@cache
def default_template(family: Family) -> str:
    """The package's own template of a family."""
    place = files(__package__) / "templates" / FAMILIES[family].file
    return place.read_text(encoding="utf-8")


def plan_problems(
    manifest: InstallerManifest, plan: DiskPlan, hardware: Inventory | None
) -> list[FieldProblem]:
    """Why an installer cannot make a disk plan on a machine; empty where it can."""
    release = manifest.family, manifest.os_type, manifest.os_version
    return installerlimits.plan_problems(*release, plan, hardware)


def meta_data(task: Task) -> str:
    """What cloud-init asks for beside Ubuntu's answer file."""
    return f"instance-id: {quoting.yaml(task.task_id)}\n"
