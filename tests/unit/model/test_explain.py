"""Why a machine waits: each rule speaks where its cause is, and nothing speaks of what is well."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.model.evidence import Evidence, Sign, Transfer
from lpmos.model.explain import RULES, Situation, Usual, explain, layers
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, Task, TaskError
from tests.support.builders import MAC, NOW, make_task

LATER = NOW + timedelta(minutes=10)


def seen(**signs: float) -> Evidence:
    """What was seen so many seconds after the task began; files went out whole within a second."""
    files = {
        name: Transfer(NOW + timedelta(seconds=s), 9_000_000, NOW + timedelta(seconds=s + 1))
        for name, s in signs.items()
        if name in ("kernel", "initramfs")
    }
    others = {
        name: Sign(NOW + timedelta(seconds=s), name)
        for name, s in signs.items()
        if name not in files
    }
    return msgspec.structs.replace(Evidence(mac=MAC), **files, **others)


def of(task: Task, evidence: Evidence | None = None, **other: object) -> Situation:
    fields: dict[str, object] = {"since": NOW, "now": LATER, "seen": evidence or Evidence(mac=MAC)}
    return Situation(task=task, **(fields | other))  # type: ignore[arg-type]


def installing(step: str, at_s: float = 0, rate: float | None = None, **more: object) -> Task:
    progress = Progress(
        step=step, percent=40, timestamp=NOW + timedelta(seconds=at_s), bytes_per_second=rate
    )
    return make_task(status=Status.INSTALLING, progress=(progress,), **more)


READY, BOOTING = make_task(status=Status.READY), make_task(status=Status.BOOTING)
PENDING_APPROVAL = make_task(status=Status.PENDING_APPROVAL)
HANDED_OVER = make_task(status=Status.INSTALLING, handed_over_at=NOW)
STUCK_FILE = Evidence(
    mac=MAC, script=Sign(NOW), kernel=Transfer(NOW, 9_000_000), initramfs=Transfer(NOW, 9)
)
CASES = {
    "region-offline": of(READY, seen(asked=599), online=False),
    "not-prepared": of(make_task(status=Status.PENDING)),
    "nothing-seen": of(READY),
    "no-address": of(READY, seen(asked=60)),
    "no-loader": of(READY, seen(asked=60, given=61)),
    "loader-without-script": of(READY, seen(asked=60, given=61, loader=62)),
    "no-script-of-its-own": of(READY, seen(asked=60, given=61, loader=62, entry=64)),
    "agent-files-slow": of(BOOTING, STUCK_FILE),
    "agent-files-not-taken": of(BOOTING, seen(given=1, loader=2, entry=4, script=5)),
    "agent-refused": of(BOOTING, seen(refused=590)),
    "agent-cannot-reach-region": of(BOOTING, seen(script=5, kernel=6, initramfs=7, asked=30)),
    "agent-does-not-start": of(BOOTING, seen(asked=3, script=5, kernel=6, initramfs=7)),
    "nobody-decided": of(PENDING_APPROVAL, agent=True),
    "agent-left": of(PENDING_APPROVAL, now=NOW + timedelta(seconds=9), agent=False),
    "disk-fails": of(installing("installing", 599, logs=("blk: I/O error on sda",)), agent=True),
    "agent-away": of(installing("installing", 599), agent=False),
    "image-slow": of(installing("downloading", 599, rate=120_000.0), agent=True),
    "disk-slow": of(installing("configuring"), agent=True),
    "download-stands": of(installing("downloading", rate=90e6), agent=True),
    "system-cannot-call": of(HANDED_OVER, seen(asked=90)),
    "system-does-not-start": of(HANDED_OVER),
}


@pytest.mark.parametrize("code", CASES)
def test_cause_is_named_first_and_alone(code: str) -> None:
    assert [cause.code for cause in explain(CASES[code])] == [code]


def test_every_rule_has_a_case_and_says_what_to_do() -> None:
    assert [rule.code for rule in RULES] == list(CASES)
    assert all(rule.cause.endswith(".") and rule.do.endswith(".") for rule in RULES)


@pytest.mark.parametrize(
    "well",
    [
        of(READY, now=NOW + timedelta(seconds=30)),
        of(READY, seen(asked=590)),
        of(READY, seen(asked=580, given=581, loader=583)),
        of(BOOTING, seen(script=585, kernel=586, initramfs=590)),
        of(
            PENDING_APPROVAL,
            agent=True,
            usual=Usual(model="m", count=9, p50_s=600.0, p95_s=900.0),
        ),
        of(installing("downloading", 599, rate=90e6), agent=True),
        of(installing("downloading", 1, rate=0.0), agent=True, now=NOW + timedelta(seconds=2)),
        of(installing("partitioning", 550), agent=True),
        of(HANDED_OVER, now=NOW + timedelta(seconds=60)),
        of(make_task(status=Status.COMPLETED, handed_over_at=NOW)),
        of(make_task(status=Status.CANCELLED), online=False),
    ],
)
def test_what_goes_on_as_it_should_has_no_cause(well: Situation) -> None:
    assert explain(well) == ()


def test_failed_disk_is_told_from_the_error_of_the_command() -> None:
    error = TaskError(reason="mkfs failed", output="write error: Input/output\nI/O error")
    task = make_task(status=Status.FAILED, error=error)
    assert [cause.code for cause in explain(of(task))] == ["disk-fails"]


def test_disk_that_fails_is_told_from_the_words_of_any_program() -> None:
    for words in ("sfdisk: write failed: Input/output error", "[Errno 5] Input/output error"):
        failed = make_task(status=Status.FAILED, error=TaskError(reason="no table", output=words))
        assert [cause.code for cause in explain(of(failed))] == ["disk-fails"]


def test_evidence_of_before_the_task_is_left_out() -> None:
    old = seen(asked=-60, given=-59, script=5)
    assert old.since(NOW) == seen(script=5)
    assert old.since(NOW + timedelta(hours=1)).newest is None


def test_layers_end_with_the_first_that_was_not_seen() -> None:
    found = layers(of(READY, seen(asked=60, given=61)))
    assert [(layer.layer, layer.at is not None) for layer in found] == [
        ("dhcp", True),
        ("address", True),
        ("loader", False),
    ]


def test_layers_of_an_install_have_its_step_with_the_rate() -> None:
    found = layers(of(installing("downloading", 9, rate=5e6, reported_at=NOW), seen(kernel=3)))
    assert [layer.layer for layer in found][-2:] == ["agent", "downloading"]
    assert found[-1].what == "40 %, 5.0 MB/s"
    assert any(layer.what == "9.0 MB in 1.0 s" for layer in found)


def test_layers_of_a_finished_task_are_those_that_were_seen() -> None:
    assert layers(of(make_task(status=Status.FAILED))) == ()
