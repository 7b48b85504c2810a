"""Why a machine waits: each rule speaks where its cause is, and nothing speaks of what is well."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.model.diskplan import DiskPlan
from lpmos.model.evidence import ANOTHER_MACHINE, Evidence, Sign, Transfer
from lpmos.model.explain import RULES, explain
from lpmos.model.installer import Handover
from lpmos.model.job import Job, MemoryTest
from lpmos.model.layers import layers
from lpmos.model.lifecycle import Status
from lpmos.model.situation import Situation, Usual
from lpmos.model.task import Progress, Task
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


def codes(now: Situation) -> list[str]:
    return [cause.code for cause in explain(now)]


def installing(step: str, at_s: float = 0, rate: float | None = None, **more: object) -> Task:
    progress = Progress(
        step=step, percent=40, timestamp=NOW + timedelta(seconds=at_s), bytes_per_second=rate
    )
    return make_task(status=Status.INSTALLING, progress=(progress,), **more)


def sign(layer: str, at_s: float, detail: str, by: str | None = None) -> Evidence:
    """That this was seen, and nothing else."""
    found = Sign(NOW + timedelta(seconds=at_s), detail, by)  # type: ignore[arg-type]
    return msgspec.structs.replace(Evidence(mac=MAC), **{layer: found})


def by_installer(way: str, *steps: Progress, script_at_s: float | None = None) -> Task:
    """A task whose agent handed over a second after the task began."""
    given = None if script_at_s is None else NOW + timedelta(seconds=script_at_s)
    began = NOW + timedelta(seconds=1)
    handover = Handover(by=way, at=began, script_at=given)  # type: ignore[arg-type]
    newest = max([began, *([given] if given else []), *(step.timestamp for step in steps)])
    return make_task(status=Status.INSTALLING, handover=handover, progress=steps, updated_at=newest)


def step(name: str, at_s: float) -> Progress:
    return Progress(step=name, percent=40, timestamp=NOW + timedelta(seconds=at_s))


PLAN = DiskPlan(device="/dev/sda", size_bytes=1, partitions=())
USUAL = Usual(model="m", count=9, p50_s=100.0, p95_s=200.0)
READY, BOOTING = make_task(status=Status.READY), make_task(status=Status.BOOTING)
PENDING_APPROVAL = make_task(status=Status.PENDING_APPROVAL)
APPROVED = make_task(status=Status.APPROVED)
HANDED_OVER = make_task(status=Status.INSTALLING, handed_over_at=NOW)
STUCK_FILE = Evidence(
    mac=MAC, script=Sign(NOW), kernel=Transfer(NOW, 9_000_000), initramfs=Transfer(NOW, 9)
)
CASES = {
    "region-offline": of(READY, seen(asked=599), online=False),
    "image-on-its-way": of(APPROVED, awaits="image d, 1 of 2 MB are there", agent=True),
    "not-prepared": of(make_task(status=Status.PENDING)),
    "nothing-seen": of(READY),
    "no-address": of(READY, seen(asked=60)),
    "no-loader": of(READY, seen(asked=60, given=61)),
    "loader-without-script": of(READY, seen(asked=60, given=61, loader=62)),
    "told-to-wait": of(READY, sign("script", 595, "wait: no agent image here")),
    "asks-no-more": of(READY, sign("script", 500, "wait: no agent image here")),
    "no-script-of-its-own": of(READY, seen(asked=60, given=61, loader=62, entry=64)),
    "agent-files-slow": of(BOOTING, STUCK_FILE),
    "agent-files-not-taken": of(BOOTING, seen(given=1, loader=2, entry=4, script=5)),
    "another-machine": of(APPROVED, sign("refused", 590, ANOTHER_MACHINE), agent=True),
    "agent-refused": of(BOOTING, seen(refused=590)),
    "agent-cannot-reach-region": of(BOOTING, seen(script=5, kernel=6, initramfs=7, asked=30)),
    "agent-does-not-start": of(BOOTING, seen(asked=3, script=5, kernel=6, initramfs=7)),
    "agent-silent": of(BOOTING, seen(script=5, kernel=6, initramfs=7)),
    "nobody-decided": of(PENDING_APPROVAL, agent=True),
    "agent-left": of(PENDING_APPROVAL, now=NOW + timedelta(seconds=9), agent=False),
    "disk-fails": of(
        installing("installing", 599, logs=("[kernel] I/O error, dev sda",), plan=PLAN), agent=True
    ),
    "agent-away": of(installing("installing", 599), agent=False),
    "image-slow": of(installing("downloading", 599, rate=120_000.0), agent=True),
    "disk-slow": of(installing("configuring"), agent=True),
    "download-stands": of(installing("downloading", rate=90e6), agent=True),
    "installer-not-started": of(by_installer("kexec", step("handing_over", 0)), agent=False),
    "installer-silent": of(
        by_installer("kexec", step("handing_over", 0), step("partitioning", 60)),
        agent=False,
        now=LATER + timedelta(minutes=2),
    ),
    "system-cannot-call": of(HANDED_OVER, seen(asked=90)),
    "system-does-not-start": of(HANDED_OVER, seen(asked=-60)),
    "system-silent": of(HANDED_OVER),
    "takes-longer": of(installing("installing", 599), agent=True, usual=USUAL),
}


@pytest.mark.parametrize("code", CASES)
def test_cause_is_named_first_and_alone(code: str) -> None:
    assert codes(CASES[code]) == [code]


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
        of(
            by_installer("kexec", step("handing_over", 0)),
            agent=False,
            now=NOW + timedelta(minutes=4),
        ),
        of(by_installer("restart", script_at_s=500), agent=False),
        of(by_installer("kexec", step("configuring", 60)), agent=False),
        of(make_task(status=Status.PENDING), sign("script", 5, "wait: prepares"), now=NOW),
        of(READY, sign("asked", 595, "br0", "proxy")),
        of(installing("installing", 29 * 60 - 1), agent=True, now=NOW + timedelta(minutes=29)),
        of(installing("job", 599, job=Job(steps=(MemoryTest(),))), agent=True, usual=USUAL),
        of(make_task(status=Status.COMPLETED, handed_over_at=NOW)),
        of(make_task(status=Status.CANCELLED), online=False),
    ],
)
def test_what_goes_on_as_it_should_has_no_cause(well: Situation) -> None:
    assert explain(well) == ()


def test_machine_that_is_told_to_wait_has_the_regions_reason_as_its_cause() -> None:
    seen_last = sign("script", 595, "wait: the address 10.0.0.9 is another machine's.")
    (cause,) = explain(of(READY, seen_last))
    assert cause.cause.endswith("ask again: the address 10.0.0.9 is another machine's.")
    waits = by_installer("restart")
    found = explain(of(waits, seen_last, agent=False))
    assert [each.code for each in found] == ["told-to-wait", "installer-not-started"]


def test_machine_that_got_on_since_it_was_told_to_wait_is_not_said_to_wait() -> None:
    waited = sign("script", 500, "wait: a while")
    later = msgspec.structs.replace(waited, asked=Sign(NOW + timedelta(seconds=590), "br0"))
    assert codes(of(HANDED_OVER, later)) == ["system-cannot-call"]


def test_firmware_that_asks_on_its_way_to_the_disk_is_not_the_installed_system() -> None:
    netboot = seen(asked=60, given=60, loader=62, entry=64, script=65)
    assert codes(of(HANDED_OVER, netboot)) == ["system-does-not-start"]
    assert codes(of(HANDED_OVER, sign("asked", 60, "br0", "netboot"))) == ["system-does-not-start"]
    started = msgspec.structs.replace(netboot, asked=Sign(NOW + timedelta(seconds=90), "br0"))
    assert codes(of(HANDED_OVER, started)) == ["system-cannot-call"]


def test_proxied_machine_that_fetches_nothing_lacks_its_loader_and_no_address() -> None:
    proxied = of(READY, sign("asked", 60, "br0", "proxy"))
    assert codes(proxied) == ["no-loader"]
    assert layers(proxied)[0].what.endswith("another DHCP server gives the address)")


def test_where_another_server_gives_the_addresses_no_system_is_said_to_be_unheard() -> None:
    """The firmware's requests are all that such a region sees."""
    proxied = sign("asked", 3, "br0", "proxy")
    files = seen(script=5, kernel=6, initramfs=7)
    there = msgspec.structs.replace(files, asked=proxied.asked)
    assert codes(of(BOOTING, there)) == ["agent-silent"]
    assert codes(of(HANDED_OVER, there)) == ["system-silent"]
    again = msgspec.structs.replace(files, asked=Sign(NOW + timedelta(seconds=60), "br0", "proxy"))
    assert codes(of(BOOTING, again)) == ["agent-silent"]


def test_agent_that_usually_takes_long_to_start_is_given_its_time() -> None:
    there = seen(asked=3, script=5, kernel=6, initramfs=7)
    slow = msgspec.structs.replace(USUAL, p95_s=100.0)
    at = NOW + timedelta(seconds=120)
    assert codes(of(BOOTING, there, now=at)) == ["agent-does-not-start"]
    assert codes(of(BOOTING, there, now=at, usual_start=slow)) == []
    quick = msgspec.structs.replace(USUAL, p95_s=1.0)
    early = NOW + timedelta(seconds=40)
    assert codes(of(BOOTING, there, now=early, usual_start=quick)) == []
    late = NOW + timedelta(seconds=170)
    assert codes(of(BOOTING, there, now=late, usual_start=slow)) == ["agent-does-not-start"]


def test_another_machine_that_was_refused_once_is_said_as_long_as_the_right_one_is_away() -> None:
    long_ago = sign("refused", 60, ANOTHER_MACHINE)
    assert codes(of(APPROVED, long_ago, agent=False)) == ["another-machine", "agent-left"]
    assert codes(of(APPROVED, long_ago, agent=True)) == []
    at_work = installing("installing", 599)
    assert "another-machine" in codes(of(at_work, long_ago, agent=False))


def test_another_machine_that_was_refused_once_is_not_said_after_the_agent() -> None:
    long_ago, lately = (sign("refused", at_s, ANOTHER_MACHINE) for at_s in (60, 590))
    for task in (HANDED_OVER, by_installer("kexec", step("handing_over", 0))):
        assert "another-machine" not in codes(of(task, long_ago, agent=False))
        assert "another-machine" in codes(of(task, lately, agent=False))


def test_machine_that_asks_no_more_after_a_wait_is_not_said_to_go_on_by_itself() -> None:
    waits = sign("script", 500, "wait: the store is away.")
    assert codes(of(READY, waits, now=NOW + timedelta(seconds=580))) == ["told-to-wait"]
    (cause,) = explain(of(READY, waits))
    assert cause.code == "asks-no-more" and "ask again (the store is away)," in cause.cause


def test_wait_of_which_nothing_is_known_takes_longer_after_half_an_hour() -> None:
    late = NOW + timedelta(minutes=31)
    assert codes(of(installing("installing", 31 * 60 - 1), agent=True, now=late)) == [
        "takes-longer"
    ]


def test_installer_that_was_sent_its_script_is_waited_for_from_then_on() -> None:
    task = by_installer("restart", step("handing_over", 0), script_at_s=500)
    assert codes(of(task, agent=False)) == []
    assert codes(of(task, agent=False, now=LATER + timedelta(minutes=5))) == [
        "installer-not-started"
    ]


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


def test_layers_of_a_machine_that_goes_to_its_disk_have_no_files_of_the_agent() -> None:
    restarted = seen(asked=60, given=60, loader=62, entry=64, script=65)
    found = [layer.layer for layer in layers(of(HANDED_OVER, restarted))]
    assert found == ["dhcp", "address", "loader", "ipxe", "script", "agent"]
    assert "kernel" in [layer.layer for layer in layers(of(BOOTING, restarted))]


def test_layers_of_a_finished_task_are_those_that_were_seen() -> None:
    assert layers(of(make_task(status=Status.FAILED))) == ()
