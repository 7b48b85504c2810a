"""Documents of finished tasks: folded, nothing lost, and what others wrote stays in them."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.fitting import fitted
from lpmos.core.folding import folded, unfolded
from lpmos.core.taskrow import row_of_document
from lpmos.core.taskstore import logged
from lpmos.model.boot import MOMENTS
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import PciDevice
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Progress, Task
from lpmos.store import records
from lpmos.store.api import KV
from tests.support.builders import NOW, make_inventory, make_task

DEVICES = tuple(
    PciDevice(address=f"0000:{n:02x}:00.0", vendor_id="8086", device_id="1572", class_id="020000")
    for n in range(20)
)
HARDWARE = make_inventory(pci=DEVICES)
STORED = "ePkmoC7Fq0aNMgOgXqMQA2MrA2CqMUUJ/ezUghKl2FoAOL0M8w=="
"""One line of the log, as the first version that folded stored it."""


def _task(**fields: Any) -> Task:
    whole: dict[str, Any] = {
        "status": Status.COMPLETED,
        "hardware": HARDWARE,
        "plan": plan_disk(HARDWARE, "auto", RootDiskHints(overwrite=True), GIB),
        "logs": tuple(f"2026-01-02T03:04:05.000Z [INFO] line {n}" for n in range(30)),
        "log_count": 90,
        "progress": tuple(
            Progress(step=f"step {n}", percent=n, timestamp=NOW, message="m") for n in range(5)
        ),
        "results": (
            StepResult(step="disk_test", outcome="passed", seconds=1, summary="s", evidence=("e",)),
        ),
        "boot": {name: NOW + timedelta(milliseconds=n * 1717) for n, name in enumerate(MOMENTS)},
    }
    return make_task(**{**whole, **fields})


def _kv(value: bytes) -> KV:
    return KV("/os/dc1/machines/SN-1/task", value, 1, 1, 1)


def _decoded(value: bytes) -> Task:
    return records.decode(_kv(value), Task)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_finished_task_is_folded_and_read_whole(status: Status) -> None:
    task = _task(status=status)
    same, document = fitted(task)
    assert same == task == _decoded(document)
    assert 3 * len(document) < len(records.encode(task))
    assert "hardware" not in msgspec.json.decode(document)


def test_boot_of_a_finished_task_takes_little_of_its_document() -> None:
    without = fitted(_task(boot={}))[1]
    assert len(fitted(_task())[1]) - len(without) < 350


def test_task_that_goes_on_is_not_folded() -> None:
    task = _task(status=Status.INSTALLING)
    assert fitted(task)[1] == records.encode(task)


def test_finished_task_with_nothing_to_fold_has_no_defaults() -> None:
    task = make_task(status=Status.CANCELLED)
    document = fitted(task)[1]
    assert _decoded(document) == task
    assert msgspec.json.decode(document).keys().isdisjoint({"folded", "plan", "tags", "setup"})


def test_row_of_a_folded_task_is_that_of_the_task() -> None:
    task = _task()
    whole, kept = (row_of_document(_kv(each)) for each in (records.encode(task), fitted(task)[1]))
    assert msgspec.structs.replace(kept, hardware_sum=0) == msgspec.structs.replace(
        whole, hardware_sum=0
    )


def test_document_unfolded_says_what_it_said() -> None:
    task = _task()
    document = fitted(task)[1]
    assert _decoded(unfolded(document)) == task
    assert "folded" not in msgspec.json.decode(unfolded(document))
    assert unfolded(records.encode(task)) == records.encode(task)


@pytest.mark.parametrize(
    "name", ['"folded": ', '"folded"\n:', '"\\u0066olded":', '"fold\\u0065d":']
)
def test_folded_task_however_it_is_spelled_is_unfolded(name: str) -> None:
    task = _task()
    document = fitted(task)[1].replace(b'"folded":', name.encode())
    assert _decoded(unfolded(document)) == task
    assert "folded" not in msgspec.json.decode(unfolded(document))


@pytest.mark.parametrize(
    "line", ['"folded":null', '"folded":"', "folded", "\x1b[1m", "\\u0066olded"]
)
def test_task_that_speaks_of_folding_is_as_it_is(line: str) -> None:
    task = _task(status=Status.INSTALLING, logs=(line,))
    document = records.encode(task)
    assert unfolded(document) == document


def test_what_a_newer_version_wrote_stays_in_a_folded_task() -> None:
    task = _task()
    wrote = msgspec.json.decode(records.encode(task))
    wrote["newer"] = 1
    wrote["setup"]["newer"] = 4  # itself only defaults, and so are these of the hardware
    wrote["hardware"]["bios"]["newer"] = 5
    wrote["hardware"]["newer"] = 2
    wrote["hardware"]["pci"][7]["newer"] = 3
    first = fitted(task, msgspec.json.encode(wrote), read=task)[1]
    changed = logged(task, NOW, "[INFO] dismissed")
    again = msgspec.json.decode(unfolded(fitted(changed, first, read=task)[1]))
    assert again["newer"] == 1
    assert again["setup"] == {"newer": 4}
    assert again["hardware"]["bios"]["newer"] == 5
    assert again["hardware"]["newer"] == 2
    assert again["hardware"]["pci"][7]["newer"] == 3
    assert len(again["logs"]) == 31


def test_line_that_an_older_version_added_comes_after_those_folded() -> None:
    task = _task()
    document = msgspec.json.decode(fitted(task)[1])
    document |= {"logs": ["added"], "hardware": None, "results": []}  # it knows of no folding
    value = msgspec.json.encode(document)
    assert _decoded(value).logs == (*task.logs, "added")
    assert _decoded(unfolded(value)) == _decoded(value)


def test_task_folded_before_is_read_whatever_changed_since() -> None:
    """The stored form, dictionary and all, stays readable."""
    document = {**msgspec.json.decode(fitted(make_task(status=Status.FAILED))[1]), "folded": STORED}
    assert _decoded(msgspec.json.encode(document)).logs == ("2026-01-02T03:04:05.000Z [INFO] kept",)


@pytest.mark.parametrize("text", ["eJwrKEpNLVYAAA", "AAAA", "", "not base64!"])
def test_task_whose_folded_part_is_damaged_is_a_damaged_record(text: str) -> None:
    document = msgspec.json.encode({**msgspec.json.decode(fitted(_task())[1]), "folded": text})
    with pytest.raises(records.DamagedRecord, match="/os/dc1/machines/SN-1/task"):
        _decoded(document)


def test_task_that_would_unfold_without_end_is_a_damaged_record() -> None:
    task = _task(logs=("x" * 3_000_000,))
    document = folded(msgspec.json.encode(task), task)
    with pytest.raises(records.DamagedRecord, match="too large"):
        _decoded(document)


@given(
    logs=st.lists(st.text(max_size=40), max_size=20),
    percents=st.lists(st.floats(0, 100), max_size=6),
    tags=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    reported=st.booleans(),
)
def test_any_finished_task_folded_decodes_to_the_same(
    logs: list[str], percents: list[float], tags: dict[str, str], reported: bool
) -> None:
    task = _task(
        logs=tuple(logs),
        progress=tuple(Progress(step="s", percent=each, timestamp=NOW) for each in percents),
        tags=tags,
        hardware=HARDWARE if reported else None,
        results=(),
    )
    document = folded(records.encode(task), task)
    assert _decoded(document) == task
    assert _decoded(unfolded(document)) == task
    assert len(document) <= len(records.encode(task))
