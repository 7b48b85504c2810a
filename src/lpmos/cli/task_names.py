"""Which task is meant: a whole id, the beginning of one, or the machine that it is for."""

import re
from collections.abc import Callable

from lpmos.cli.client import Client, Document
from lpmos.cli.failures import Usage
from lpmos.cli.words import plain
from lpmos.model.errors import NotFound
from lpmos.model.lifecycle import FINAL

FINDS = ("GET /tasks",)
CANDIDATES = 500
_WHOLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")
_FINISHED = frozenset(status.value for status in FINAL)


def task_id(client: Client, name: str) -> str:
    """The id of the task that `name` means; raises as `meant`."""

    def search(text: str) -> list[Document]:
        of_machine: list[Document] = client.get("tasks", machine=text, limit=CANDIDATES)["tasks"]
        return of_machine or client.get("tasks", text=text, limit=CANDIDATES)["tasks"]

    return meant(name, search)


def meant(name: str, search: Callable[[str], list[Document]]) -> str:
    """The id of the task that `name` means.

    Args:
        name: a whole id, the beginning of one, a serial number, host name or MAC.
        search: the tasks that have a text in one of these.

    Raises:
        NotFound: no task answers to it.
        Usage: several do; they are listed.
    """
    if _WHOLE.fullmatch(name.lower()):
        return name.lower()
    found = search(name[:128])
    begin = [task for task in found if _begins(task, name.lower())]
    if len(begin) == 1:
        return str(begin[0]["task_id"])
    of_machine = [task for task in found if name in (task["sn"], task["hostname"], task["mac"])]
    under_way = [task for task in of_machine if task["status"] not in _FINISHED]
    wanted = begin or under_way or of_machine[:1]
    if not wanted:
        raise NotFound(f"no task has {plain(name)!r} as the beginning of its id, SN, host or MAC")
    if len(wanted) > 1:
        rows = "\n".join(
            f"  {task['task_id']}  {task['idc']}  {plain(task['sn'])}  {task['status']}"
            for task in wanted
        )
        raise Usage(f"{plain(name)!r} can be any of these tasks; name one by its id:\n{rows}")
    return str(wanted[0]["task_id"])


def _begins(task: Document, name: str) -> bool:
    return _BEGINNING.fullmatch(name) is not None and str(task["task_id"]).startswith(name)
