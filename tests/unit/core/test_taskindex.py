"""The index of tasks: counts that are always those of a walk, and every order and filter."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.taskindex import SORTED_LIMIT, TaskIndex, TaskQuery, TaskSort
from lpmos.core.taskrow import TaskRow, row_of_task
from lpmos.model.lifecycle import Status
from tests.support.builders import NOW, make_task


def _task(number: int, **fields: object) -> TaskRow:
    known = {
        "task_id": f"id-{number}",
        "sn": f"SN-{number}",
        "hostname": f"web-{number}",
        "mac": f"52:54:00:00:00:{number:02x}",
        "created_at": NOW + timedelta(seconds=number),
    }
    return row_of_task(make_task(**(known | fields)))


def _index(*tasks: TaskRow) -> TaskIndex:
    index = TaskIndex()
    for task in tasks:
        index.put(task)
    return index


def _found(index: TaskIndex, **query: object) -> list[str]:
    tasks, total = index.page(TaskQuery(**query))  # type: ignore[arg-type]
    assert total == len(tasks)
    return [task.task_id for task in tasks]


@pytest.mark.parametrize("text", ["sn-2", "WEB-2", "00:00:02", "ID-2"])
def test_text_is_found_in_each_name_whatever_the_case(text: str) -> None:
    index = _index(_task(1), _task(2))
    assert _found(index, text=text) == ["id-2"]


@pytest.mark.parametrize(
    ("tag", "found"),
    [("rack", ["id-2", "id-1"]), ("rack=a", ["id-1"]), ("rack=", ["id-2"]), ("row", [])],
)
def test_tag_is_a_key_or_a_key_and_value(tag: str, found: list[str]) -> None:
    index = _index(_task(1, tags={"rack": "a"}), _task(2, tags={"rack": ""}), _task(3))
    assert _found(index, tag=tag) == found


@pytest.mark.parametrize(
    ("os", "found"),
    [("debian", ["id-2", "id-1"]), ("Debian 12", ["id-1"]), ("debian 1", []), ("12", [])],
)
def test_os_is_a_type_or_a_type_and_version(os: str, found: list[str]) -> None:
    index = _index(_task(1), _task(2, os_version="13"), _task(3, os_type="rocky"))
    assert _found(index, os=os) == found


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("-created_at", ["id-3", "id-2", "id-1"]),
        ("created_at", ["id-1", "id-2", "id-3"]),
        ("updated_at", ["id-2", "id-3", "id-1"]),
        ("-updated_at", ["id-3", "id-1", "id-2"]),
        ("sn", ["id-3", "id-1", "id-2"]),
        ("status", ["id-3", "id-2", "id-1"]),
        ("-status", ["id-1", "id-3", "id-2"]),
        ("-sn", ["id-2", "id-1", "id-3"]),
        ("idc", ["id-3", "id-2", "id-1"]),
        ("-idc", ["id-1", "id-3", "id-2"]),
        ("os", ["id-3", "id-1", "id-2"]),
        ("-os", ["id-2", "id-3", "id-1"]),
    ],
)
def test_sort_orders_tasks_with_equals_newest_first(sort: TaskSort, found: list[str]) -> None:
    later = NOW + timedelta(hours=1)
    index = _index(
        _task(1, sn="b", updated_at=later, status=Status.FAILED, idc="dc2"),
        _task(2, sn="c", os_version="13"),
        _task(3, sn="a", updated_at=later),
    )
    assert _found(index, sort=sort) == found


def test_pages_of_a_status_tell_the_total_of_all() -> None:
    ready = [_task(number, status=Status.READY) for number in range(5)]
    index = _index(*ready, _task(9), _task(8, idc="dc2", status=Status.READY))
    page, total = index.page(
        TaskQuery(idc="dc1", statuses=frozenset({Status.READY}), limit=2, offset=2)
    )
    assert [task.task_id for task in page] == ["id-2", "id-1"]
    assert total == 5
    assert index.page(TaskQuery(limit=2, offset=100)) == ([], 7)


def test_put_of_a_task_with_another_time_of_creation_moves_it() -> None:
    index = _index(_task(1), _task(2))
    index.put(_task(1, created_at=NOW + timedelta(days=1)))
    assert _found(index) == ["id-1", "id-2"]
    index.remove("id-1")
    assert _found(index) == ["id-2"]


def test_version_is_another_after_each_change_and_no_sooner() -> None:
    index = _index(_task(1))
    seen = [index.version]
    _found(index)
    index.remove("no such task")
    assert index.version == seen[0]
    for row in (_task(2), _task(1, status=Status.FAILED), _task(2, sn="SN-3")):
        index.put(row)
        seen.append(index.version)
    index.remove("id-1")
    seen.append(index.version)
    assert len(set(seen)) == 5


def test_times_without_a_zone_and_at_the_edges_are_placed() -> None:
    first, last = datetime(1, 1, 1), datetime(9999, 12, 31, tzinfo=UTC)
    index = _index(_task(1, created_at=last), _task(2, created_at=first, updated_at=first))
    assert _found(index) == ["id-1", "id-2"]
    assert _found(index, sort="updated_at") == ["id-2", "id-1"]


def test_several_statuses_match_each_and_total_is_theirs() -> None:
    index = _index(
        _task(1, status=Status.READY), _task(2, status=Status.FAILED), _task(3), _task(4)
    )
    wanted = frozenset({Status.READY, Status.FAILED})
    assert _found(index, statuses=wanted) == ["id-2", "id-1"]
    assert index.page(TaskQuery(statuses=wanted, limit=1)) == ([index.get("id-2")], 2)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"created_by": "bob"}, ["id-2"]),
        ({"sn": "SN-3"}, ["id-3"]),
        ({"tenant": "a"}, ["id-1"]),
        ({"since": NOW + timedelta(seconds=2)}, ["id-3", "id-2"]),
        ({"until": NOW + timedelta(seconds=2)}, ["id-1"]),
        ({"text": "web", "created_by": "bob", "idc": "dc2"}, []),
    ],
)
def test_each_filter_narrows_the_list(query: dict[str, object], found: list[str]) -> None:
    index = _index(_task(1, tenant="a"), _task(2, created_by="bob"), _task(3))
    assert _found(index, **query) == found


@pytest.mark.parametrize("sort", ["-created_at", "created_at", "-updated_at", "-sn", "status"])
def test_search_with_many_matches_is_ordered_like_one_with_few(sort: TaskSort) -> None:
    statuses = list(Status)
    rows = [
        _task(n, sn=f"SN-{n % 7}", status=statuses[n % 10], updated_at=NOW + timedelta(days=n % 9))
        for n in range(SORTED_LIMIT + 1)
    ]
    many, few = _index(*rows), _index(*rows[:-1])
    many.remove(rows[-1].task_id)
    many.put(rows[-1])
    found, total = many.page(TaskQuery(text="web", sort=sort, limit=len(rows)))
    assert total == len(rows)
    others = [row for row in found if row is not rows[-1]]
    assert others == few.page(TaskQuery(text="web", sort=sort, limit=len(rows)))[0]


def test_tasks_of_a_machine_are_newest_first_and_retries_are_known() -> None:
    first, second = _task(1, sn="A"), _task(2, sn="A", retry_of="id-1")
    index = _index(first, second, _task(3, sn="B"))
    assert index.of_machine("dc1", "A") == [second, first]
    assert index.retry("id-1") == "id-2"
    index.remove("id-2")
    assert index.of_machine("dc1", "A") == [first]
    assert index.retry("id-1") is None
    index.remove("id-1")
    assert index.of_machine("dc1", "A") == []


def test_put_of_a_task_that_moved_to_another_machine_is_listed_there_only() -> None:
    index = _index(_task(1, sn="A"))
    index.put(_task(1, sn="B"))
    assert index.of_machine("dc1", "A") == []
    assert [row.task_id for row in index.of_machine("dc1", "B")] == ["id-1"]


changes = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["dc1", "dc2"]),
        st.none() | st.sampled_from(list(Status)),
    )
)


@given(changes)
def test_counts_are_those_of_a_walk_after_any_changes(
    made: list[tuple[int, str, Status | None]],
) -> None:
    index = TaskIndex()
    for number, idc, status in made:
        if status is None:
            index.remove(f"id-{number}")
        else:
            index.put(_task(number, idc=idc, status=status))
    for region in (None, "dc1", "dc2"):
        tasks, total = index.page(TaskQuery(idc=region, text="id-"))
        walked = Counter(task.status for task in tasks)
        assert index.counts(region) == {status: walked[status] for status in Status}
        assert index.page(TaskQuery(idc=region)) == (tasks, total)


@given(changes, st.sampled_from(get_args(TaskSort)))
def test_order_is_the_same_whenever_it_was_first_asked_for(
    made: list[tuple[int, str, Status | None]], sort: TaskSort
) -> None:
    early, late = TaskIndex(), TaskIndex()
    for number, idc, status in made:
        early.page(TaskQuery(sort=sort))
        for index in (early, late):
            if status is None:
                index.remove(f"id-{number}")
            else:
                index.put(_task(number, idc=idc, status=status))
    assert early.page(TaskQuery(sort=sort)) == late.page(TaskQuery(sort=sort))
