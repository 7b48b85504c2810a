"""Which task a name means."""

import pytest

from lpmos.cli.client import Document
from lpmos.cli.failures import Usage
from lpmos.cli.task_names import meant
from lpmos.model.errors import NotFound


def task(number: int, sn: str, status: str = "pending") -> Document:
    return {
        "task_id": f"{number:08x}-0000-4000-8000-000000000000", "idc": "dc1", "sn": sn,
        "hostname": sn.lower(), "mac": f"52:54:00:00:00:{number:02x}", "status": status,
    }  # fmt: skip


def among(*tasks: Document) -> "Search":
    return Search(list(tasks))


class Search:
    """The tasks that have a text somewhere, as the API finds them."""

    def __init__(self, tasks: list[Document]) -> None:
        self._tasks = tasks

    def __call__(self, text: str) -> list[Document]:
        return [each for each in self._tasks if any(text in str(each[name]) for name in each)]


def test_whole_id_is_not_looked_for() -> None:
    assert meant(task(1, "A")["task_id"].upper(), among()) == task(1, "A")["task_id"]


@pytest.mark.parametrize("name", ["0000000a", "A1", "a1", "52:54:00:00:00:0a"])
def test_one_task_is_meant_by_any_of_its_names(name: str) -> None:
    assert meant(name, among(task(10, "A1"), task(11, "B1"))) == task(10, "A1")["task_id"]


def test_machine_means_its_unfinished_task() -> None:
    found = among(task(3, "A1", "failed"), task(2, "A1"), task(1, "A1", "completed"))
    assert meant("A1", found) == task(2, "A1")["task_id"]


def test_machine_without_an_unfinished_task_means_its_newest() -> None:
    found = among(task(3, "A1", "failed"), task(1, "A1", "completed"))
    assert meant("A1", found) == task(3, "A1")["task_id"]


def test_part_of_a_serial_number_means_nothing() -> None:
    with pytest.raises(NotFound):
        meant("A", among(task(1, "A1")))


def test_several_tasks_are_listed_and_refused() -> None:
    with pytest.raises(Usage) as refused:
        meant("0000000", among(task(1, "A1"), task(2, "B\x1b")))
    assert task(1, "A1")["task_id"] in str(refused.value) and "\x1b" not in str(refused.value)
