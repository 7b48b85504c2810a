"""A task as one trace: every span within its root, with ids that are always the same."""

from datetime import timedelta

from lpmos.agent.trace import read_trace
from lpmos.model.evidence import Evidence, Sign, Transfer
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, StatusChange, Task, TaskError
from lpmos.model.trace import Span, root_of, spans, trace_id
from tests.support.builders import MAC, NOW, make_inventory, make_task

WAY = (Status.PENDING, Status.READY, Status.BOOTING, Status.INSTALLING)
SEEN = Evidence(
    mac=MAC,
    asked=Sign(NOW + timedelta(seconds=11), "on br0"),
    kernel=Transfer(NOW + timedelta(seconds=12), 9_000_000, NOW + timedelta(seconds=14)),
    initramfs=Transfer(NOW + timedelta(seconds=15), 9),
)


def ended(status: Status, **more: object) -> Task:
    history = tuple(
        StatusChange(status=each, timestamp=NOW + timedelta(seconds=10 * at), by="somebody")
        for at, each in enumerate((*WAY, status))
    )
    steps = (
        Progress(step="partitioning", percent=20, timestamp=NOW + timedelta(seconds=33)),
        Progress(
            step="downloading", percent=60, timestamp=NOW + timedelta(seconds=38), bytes_done=7
        ),
    )
    hardware = make_inventory(product=Product(vendor="V", name="R1"))
    document: dict[str, object] = {
        "status": status,
        "status_history": history,
        "progress": steps,
        "created_at": NOW,
        "hardware": hardware,
    }
    return make_task(**(document | more))


def named(found: tuple[Span, ...]) -> dict[str, Span]:
    return {span.name: span for span in found}


def test_trace_has_each_state_file_and_step_below_its_root() -> None:
    task = ended(Status.COMPLETED)
    root, *others = spans(task, SEEN)
    assert (
        root.trace_id == trace_id(task) == task.task_id.replace("-", "") and root.parent_id is None
    )
    assert (root.start, root.end) == (NOW, NOW + timedelta(seconds=40))
    assert root.attributes["lpmos.model"] == "R1" and root.error is None
    assert {span.parent_id for span in others} == {root.span_id}
    assert all(root.start <= span.start <= span.end <= root.end for span in others)
    assert len({span.span_id for span in (root, *others)}) == len(others) + 1
    by_name = named(tuple(others))
    assert {"pending", "ready", "booting", "installing", "boot.asked"} <= by_name.keys()
    kernel, step = by_name["boot.kernel"], by_name["install.downloading"]
    assert (kernel.end - kernel.start, step.end - step.start) == (
        timedelta(seconds=2),
        timedelta(seconds=5),
    )
    assert step.attributes == {"lpmos.percent": 60, "lpmos.bytes": 7}
    assert by_name["boot.initramfs"].end == by_name["boot.initramfs"].start


def test_task_that_was_asked_for_in_a_trace_is_a_part_of_it() -> None:
    asked = f"00-{'a1' * 16}-{'b2' * 8}-00"
    task = ended(Status.COMPLETED, traceparent=asked)
    root, *others = spans(task, SEEN)
    assert (trace_id(task), root.parent_id) == ("a1" * 16, "b2" * 8)
    assert {span.trace_id for span in others} == {"a1" * 16}
    assert str(root_of(task)) == f"00-{'a1' * 16}-{root.span_id}-01"
    other = ended(
        Status.COMPLETED, traceparent=asked, task_id="0b0b6f5e-0000-4000-8000-00000000000f"
    )
    assert root_of(other).span_id != root.span_id


def test_agent_names_the_spans_that_the_trace_has() -> None:
    task = ended(Status.COMPLETED)
    trace = read_trace(str(root_of(task)))
    assert trace is not None
    step = named(spans(task, SEEN))["install.downloading"]
    assert trace.header("install.downloading") == f"00-{step.trace_id}-{step.span_id}-01"


def test_trace_is_the_same_whoever_makes_it() -> None:
    assert spans(ended(Status.COMPLETED), SEEN) == spans(ended(Status.COMPLETED), SEEN)


def test_trace_of_a_failed_task_says_why_and_of_a_cancelled_one_no_error() -> None:
    error = TaskError(reason="mkfs failed")
    assert spans(ended(Status.FAILED, error=error), SEEN)[0].error == "mkfs failed"
    assert spans(ended(Status.CANCELLED), SEEN)[0].error is None


def test_agent_that_reported_was_there_though_its_sign_is_forgotten() -> None:
    task = ended(Status.COMPLETED, reported_at=NOW + timedelta(seconds=22))
    assert "boot.agent" not in named(spans(ended(Status.COMPLETED), SEEN))
    assert named(spans(task, SEEN))["boot.agent"].start == NOW + timedelta(seconds=22)


def test_first_boot_is_a_span_of_its_own() -> None:
    task = ended(Status.COMPLETED, handed_over_at=NOW + timedelta(seconds=36))
    by_name = named(spans(task, SEEN))
    assert by_name["first_boot"].start == by_name["installing"].end
    assert "install.downloading" not in by_name
