"""Figures that are counted as tasks change are those of a walk over all of them."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.statistics import BUCKET_S
from lpmos.core.taskindex import TaskIndex
from lpmos.core.taskrow import TaskRow, row_of_task
from lpmos.model.lifecycle import Status
from tests.support.builders import NOW, make_task

HOURS = 2
NOW_THEN = NOW + timedelta(hours=1)

rows = st.builds(
    lambda number, created, lasted, status, tenant, version: row_of_task(
        make_task(
            task_id=f"id-{number}",
            sn=f"SN-{number}",
            created_at=NOW - timedelta(minutes=created),
            updated_at=NOW - timedelta(minutes=created - lasted),
            status=status,
            tenant=tenant,
            os_version=version,
        )
    ),
    st.integers(0, 5),
    st.integers(0, 120),
    st.integers(0, 60),
    st.sampled_from(Status),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from(["12", "13"]),
)


@given(st.lists(rows | st.integers(0, 5), max_size=30), st.sampled_from([None, "a"]))
def test_statistics_are_those_of_a_walk_after_any_changes(
    changes: list[TaskRow | int], tenant: str | None
) -> None:
    index, known = TaskIndex(), dict[str, TaskRow]()
    for change in changes:
        if isinstance(change, TaskRow):
            index.put(change)
            known[change.task_id] = change
        else:
            index.remove(f"id-{change}")
            known.pop(f"id-{change}", None)
    seen = [row for row in known.values() if tenant in (None, row.tenant)]
    systems = {
        (each.os_type, each.os_version, status): count
        for each in index.statistics.systems(tenant)
        for status, count in each.counts.items()
        if count
    }
    assert systems == Counter((row.os_type, row.os_version, row.status) for row in seen)
    for bucket in index.statistics.buckets(NOW_THEN, HOURS, tenant):
        until = bucket.at + timedelta(seconds=BUCKET_S)
        created = sum(bucket.at <= row.created_at < until for row in seen)
        ended = Counter(row.status for row in seen if bucket.at <= row.updated_at < until)
        assert (bucket.created, bucket.completed, bucket.failed) == (
            created,
            ended[Status.COMPLETED],
            ended[Status.FAILED],
        )


def test_buckets_go_back_without_gaps_and_end_with_the_present_one() -> None:
    buckets = TaskIndex().statistics.buckets(NOW, HOURS)
    assert len(buckets) == HOURS * 3600 // BUCKET_S
    gaps = {late.at - early.at for early, late in pairwise(buckets)}
    assert gaps == {timedelta(seconds=BUCKET_S)}
    assert timedelta() <= NOW - buckets[-1].at < timedelta(seconds=BUCKET_S)
