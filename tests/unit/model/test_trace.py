"""A task as one trace: every span within its root, with ids that are always the same."""

from datetime import datetime, timedelta

from lpmos.agent.trace import read_trace
from lpmos.model import boot
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, StatusChange, Task, TaskError
from lpmos.model.trace import Span, root_of, spans, trace_id
from tests.support.builders import NOW, make_inventory, make_task

WAY = (Status.PENDING, Status.READY, Status.BOOTING, Status.INSTALLING)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


SEEN = {
    boot.DHCP: at(11),
    boot.KERNEL_ASKED: at(12),
    boot.KERNEL: at(14),
    boot.INITRAMFS_ASKED: at(15),
}


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
        "boot": SEEN,
    }
    return make_task(**(document | more))


def named(found: tuple[Span, ...]) -> dict[str, Span]:
    return {span.name: span for span in found}


def test_trace_has_each_state_file_and_step_below_its_root() -> None:
    task = ended(Status.COMPLETED)
    root, *others = spans(task)
    assert (
        root.trace_id == trace_id(task) == task.task_id.replace("-", "") and root.parent_id is None
    )
    assert (root.start, root.end) == (NOW, NOW + timedelta(seconds=40))
    assert root.attributes["lpmos.model"] == "R1" and root.error is None
    assert {span.parent_id for span in others} == {root.span_id}
    assert all(root.start <= span.start <= span.end <= root.end for span in others)
    assert len({span.span_id for span in (root, *others)}) == len(others) + 1
    by_name = named(tuple(others))
    assert {"pending", "ready", "booting", "installing", "boot.dhcp"} <= by_name.keys()
    kernel, step = by_name["boot.kernel"], by_name["install.downloading"]
    assert (kernel.end - kernel.start, step.end - step.start) == (
        timedelta(seconds=2),
        timedelta(seconds=5),
    )
    assert step.attributes == {"lpmos.percent": 60, "lpmos.bytes": 7}
    assert by_name["boot.initramfs_asked"].start == at(15)


def test_task_that_was_asked_for_in_a_trace_is_a_part_of_it() -> None:
    asked = f"00-{'a1' * 16}-{'b2' * 8}-00"
    task = ended(Status.COMPLETED, traceparent=asked)
    root, *others = spans(task)
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
    step = named(spans(task))["install.downloading"]
    assert trace.header("install.downloading") == f"00-{step.trace_id}-{step.span_id}-01"


def test_trace_is_the_same_whoever_makes_it() -> None:
    assert spans(ended(Status.COMPLETED)) == spans(ended(Status.COMPLETED))


def test_trace_of_a_failed_task_says_why_and_of_a_cancelled_one_no_error() -> None:
    error = TaskError(reason="mkfs failed")
    assert spans(ended(Status.FAILED, error=error))[0].error == "mkfs failed"
    assert spans(ended(Status.CANCELLED))[0].error is None


def test_agent_that_reported_was_there_though_its_sign_is_forgotten() -> None:
    task = ended(Status.COMPLETED, reported_at=NOW + timedelta(seconds=22))
    assert "boot.agent" not in named(spans(ended(Status.COMPLETED)))
    assert named(spans(task))["boot.agent"].start == NOW + timedelta(seconds=22)


def test_first_boot_is_a_span_of_its_own() -> None:
    task = ended(Status.COMPLETED, handed_over_at=NOW + timedelta(seconds=36))
    by_name = named(spans(task))
    assert by_name["first_boot"].start == by_name["installing"].end
    assert "install.downloading" not in by_name


def test_boot_of_a_completed_install_is_that_of_its_agent_and_not_the_restart() -> None:
    moments = {
        boot.DHCP: at(-5),
        boot.LOADER: at(2),
        boot.KERNEL_ASKED: at(4),
        boot.KERNEL: at(6),
        boot.INITRAMFS_ASKED: at(7),
        boot.AGENT: at(20),
        boot.RESTART_SCRIPT: at(38),
        boot.RESTART_NETWORK: at(41),
    }
    task = ended(Status.COMPLETED, boot=moments, reported_at=at(22))
    root, *others = spans(task)
    by_name = named(tuple(others))
    assert {name for name in by_name if name.startswith(("boot.", "restart."))} == {
        *("boot.loader", "boot.kernel", "boot.initramfs_asked", "boot.agent"),
        "restart.script",
    }
    kernel = by_name["boot.kernel"]
    assert (kernel.start, kernel.end) == (at(4), at(6))
    assert by_name["boot.loader"].start == at(2) and by_name["boot.agent"].start == at(20)
    assert all(root.start <= span.start <= span.end <= root.end for span in others)


def test_agent_that_waited_for_its_task_is_there_from_its_report_on() -> None:
    before = {boot.AGENT: NOW - timedelta(hours=1)}
    task = ended(Status.COMPLETED, boot=before, reported_at=NOW + timedelta(seconds=22))
    assert named(spans(task))["boot.agent"].start == NOW + timedelta(seconds=22)
