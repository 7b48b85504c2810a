"""The order of a job as the agent takes it, the engine, and the test of memory."""

import contextlib
import io
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent import diskerase, memorytest
from lpmos.agent.commands import Output
from lpmos.agent.console import Console
from lpmos.agent.errors import InstallError, Stopped
from lpmos.agent.hardwaresigns import MemoryErrors, memory_errors
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.joborder import JobOrder, MemoryTest, PlannedStep, parse_order
from lpmos.agent.jobs import BEGUN, Bench, Outcome, run_steps
from lpmos.agent.pace import Pace
from lpmos.agent.patterns import PATTERNS, first_difference, memory_patterns, random_pattern
from lpmos.agent.plan import parse_plan
from lpmos.agent.region import Region
from lpmos.agent.reporter import Progress, Result
from lpmos.agent.stop import Stop
from lpmos.model.diskplan import GIB
from lpmos.model.installplan import JobOrder as Sent
from lpmos.model.inventory import Disk
from lpmos.model.job import Job as AskedJob
from lpmos.model.jobplan import plan_job
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out
from tests.support.builders import make_inventory

MIB = 1 << 20
TIMEOUT_S = 20.0
STEPS: tuple[dict[str, Any], ...] = (
    {"step": "memory_test", "percent": 50, "passes": 2},
    {"step": "disk_test", "size_bytes": MIB},
    {"step": "disk_test", "mode": "write", "disks": [{"serial": "A", "overwrite": True}]},
    {"step": "disk_erase", "disks": [{"serial": "A", "overwrite": True}], "level": "discard"},
    {"step": "inventory"},
    {"step": "rescue", "minutes": 5, "ssh": True},
)


def sent(*steps: dict[str, Any]) -> dict[str, Any]:
    """A job as a region sends it."""
    disk = Disk(device="/dev/sda", size_bytes=GIB, kind="hdd", serial="A", contents=("gpt",))
    job = plan_job(make_inventory(disks=(disk,)), msgspec.convert({"steps": steps}, AskedJob))
    order = Sent(task_id="t", intent_id="i", hostname="h", job=job, ssh_keys=("ssh-ed25519 A",))
    document = json.loads(msgspec.json.encode(order))
    assert isinstance(document, dict)
    return document


def taken(*steps: dict[str, Any]) -> JobOrder:
    order = parse_order(sent(*steps))
    assert order is not None
    return order


class Told:
    """What a job says."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.progress: list[Progress] = []
        self.results: list[Result] = []
        self.now_s = 0.0
        region = Region("http://127.0.0.1:1")
        self.job = Job(region, Console(io.StringIO()), self.stop, Pace(), self.progress.append)

    def clock(self) -> float:
        self.now_s += 10
        return self.now_s

    def bench(self) -> Bench:
        return Bench(self.job, "step 1 of 1, memory_test", 0, 99, self.clock, tick_s=0.001)

    def said(self) -> list[str]:
        """The messages without the step's title."""
        return [each.message.partition(": ")[2] for each in self.progress]


def ended() -> bool:
    """Whether what is ticking falls silent."""
    (ticking,) = (each for each in threading.enumerate() if each.name == "ticking")
    ticking.join(TIMEOUT_S)
    return not ticking.is_alive()


def test_order_of_every_step_comes_as_it_was_sent() -> None:
    order = taken(*STEPS)
    assert [step.name for step in order.steps] == [step["step"] for step in STEPS]
    assert [len(step.disks) for step in order.steps] == [0, 1, 1, 1, 0, 0]
    assert order.steps[0].asked == MemoryTest(percent=50, size_bytes=None, passes=2)
    assert order.steps[2].disks[0].overwrites == ("gpt",)


def test_agent_without_jobs_refuses_an_order_as_a_plan() -> None:
    with pytest.raises(InstallError, match="boot_loader is not understood: 'job'"):
        parse_plan(sent({"step": "inventory"}))


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["steps"][0]["asked"].update(step="format_all"),
        lambda job: job["steps"][0]["asked"].update(bound=1),
        lambda job: job["steps"][0].update(devices=["/dev/sdz"]),
        lambda job: job["steps"][0].update(writes=False),
        lambda job: job["steps"][0].update(devices=[]),
        lambda job: job["steps"][0]["asked"].update(level="hammer"),
        lambda job: job.update(steps=[]),
        lambda job: job.pop("disks"),
    ],
)
def test_order_of_which_one_word_is_not_understood_is_refused(
    change: Callable[[dict[str, Any]], object],
) -> None:
    document = sent(STEPS[3])
    change(document["job"])
    with pytest.raises(InstallError, match="not understood"):
        parse_order(document)


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=8,
)


@given(ANYTHING)
def test_order_that_is_anything_is_taken_or_refused(job: object) -> None:
    with contextlib.suppress(InstallError):
        parse_order({"boot_loader": "job", "job": job})


def run(told: Told, steps: dict[str, Callable[[PlannedStep, Bench], Outcome]]) -> None:
    order = taken(*({"step": name} for name in steps))
    run_steps(order, steps, told.job, told.results.append, told.clock)


def test_steps_run_in_their_order_and_each_has_a_result() -> None:
    told = Told()

    def inventory(_: PlannedStep, bench: Bench) -> Outcome:
        bench.tell(0.5, "half", 1, 2, 3.0)
        return Outcome("seen", ("a line",))

    run(told, {"memory_test": lambda *_: Outcome("fine"), "inventory": inventory})
    assert [(each.step, each.outcome, each.summary) for each in told.results] == [
        ("memory_test", "passed", "fine"),
        ("inventory", "passed", "seen"),
    ]
    assert told.results[1].evidence == ("a line",)
    halves = [each for each in told.progress if each.message.endswith("half")]
    assert [(each.percentage, each.bytes_total) for each in halves] == [(74.25, 2)]
    assert {each.stage for each in told.progress} == {"job"}


def test_step_that_fails_ends_the_job_with_its_evidence() -> None:
    told = Told()

    def broken(*_: object) -> Outcome:
        raise InstallError("sda has 1 bad block", output="at 4096\n\nat 8192")

    with pytest.raises(InstallError, match="bad block"):
        run(told, {"disk_test": broken, "inventory": lambda *_: Outcome("never")})
    assert [(r.step, r.outcome, r.evidence) for r in told.results] == [
        ("disk_test", "failed", ("at 4096", "at 8192"))
    ]


@pytest.mark.parametrize("count", range(1, 11))
def test_step_that_fails_stays_at_what_it_said_when_it_began_to_write(count: int) -> None:
    """By that a region tells a step that was refused from one that wrote."""
    told = Told()
    order = taken(*[{"step": "inventory"}] * count)

    def fails_last(writes: bool) -> float:
        def step(_: PlannedStep, bench: Bench) -> Outcome:
            if len(told.results) < count - 1:
                return Outcome("fine")
            if writes:
                bench.tell(BEGUN, "writing")
            raise InstallError("it broke")

        told.results.clear()
        with pytest.raises(InstallError):
            run_steps(order, {"inventory": step}, told.job, told.results.append, told.clock)
        assert told.progress[-1].message.endswith("failed")
        return told.progress[-1].percentage

    first = round(99 * (count - 1) / count, 2)
    assert fails_last(writes=False) == first
    assert fails_last(writes=True) > first


def test_ticking_falls_silent_after_its_limit() -> None:
    told = Told()
    with told.bench().ticking("erasing", 60):
        assert ended()
    assert told.said() == ["erasing for 0 min", "erasing for 0 min", "erasing for 1 min"]


def test_ticking_of_a_cancelled_job_falls_silent() -> None:
    told = Told()
    told.stop.set("cancelled")
    with told.bench().ticking("erasing", math.inf):
        assert ended()
    assert told.progress == []


def test_ticking_ends_with_what_goes_on() -> None:
    with Told().bench().ticking("erasing", math.inf):
        (ticking,) = (each for each in threading.enumerate() if each.name == "ticking")
    assert not ticking.is_alive()


def test_erase_says_each_minute_that_it_goes_on_for_as_long_as_it_may_take(tmp_path: Path) -> None:
    told, disk = Told(), {"size": str(GIB // 512), "serial": "A"}
    lay_out(tmp_path, {f"sys/block/sda/{name}": text for name, text in disk.items()}, {})
    lay_out(tmp_path, {"dev/sda": "blank"}, {})
    commands = RecordingCommands(told.stop)
    commands.on("blkid", Output(2, ""))
    commands.on("blkdiscard", lambda _: Output(0 if ended() else 1, ""))
    (planned,) = taken(STEPS[3]).steps
    diskerase.run(planned, told.bench(), Tree(tmp_path), commands)
    begun, *said = told.said()
    assert begun == "/dev/sda (serial A), discard"
    assert (said[0], said[-1]) == (f"{begun} for 0 min", f"{begun} for 60 min")


def test_step_of_a_cancelled_job_stops_and_has_no_result() -> None:
    told = Told()

    def long(_: PlannedStep, bench: Bench) -> Outcome:
        told.stop.set("cancelled")
        bench.tell(0.5, "on and on")
        return Outcome("never")

    with pytest.raises(Stopped, match="cancelled"):
        run(told, {"memory_test": long})
    assert told.results == []


def meminfo(root: Path, available_mib: int) -> Tree:
    text = f"MemTotal: {1024 * 1024} kB\nMemAvailable: {available_mib * 1024} kB\n"
    lay_out(root, {"proc/meminfo": text}, {})
    return Tree(root)


def try_memory(told: Told, tree: Tree, memory: Callable[[int], bytearray], **asked: Any) -> Outcome:
    (planned,) = taken({"step": "memory_test", **asked}).steps
    return memorytest.run(planned, told.bench(), tree, memory)


def test_memory_test_leaves_what_the_agent_needs(tmp_path: Path) -> None:
    sizes: list[int] = []

    def memory(size: int) -> bytearray:
        sizes.append(size)
        return bytearray(size)

    outcome = try_memory(Told(), meminfo(tmp_path, 68), memory)
    assert sizes == [4 * MIB]
    assert "4 MB, 1 pass of 5 patterns" in outcome.summary
    assert "no ECC counters" in outcome.summary


def test_memory_test_of_more_than_is_free_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="cannot be tested: 4 MB are free"):
        try_memory(Told(), meminfo(tmp_path, 68), bytearray, size_bytes=8 * MIB)


class StuckBit(bytearray):
    """Memory of which one bit is always 1."""

    AT = MIB + 4104

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setitem__(self.AT, self[self.AT] | 0x10)


def test_memory_test_names_the_place_of_a_stuck_bit(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="wrong words") as failure:
        try_memory(Told(), meminfo(tmp_path, 66), StuckBit)
    assert "at 0x101008 of 0x200000 tested: expected 02000000000000" in failure.value.output
    assert "found 12000000000000" in failure.value.output


class Counted(StuckBit):
    """Memory whose controller counts errors once something is written to it."""

    root = Path()

    def __setitem__(self, key: Any, value: Any) -> None:
        edac(self.root, 2, 3)
        with (self.root / "dev/kmsg").open("a") as log:
            log.write("4,1,1,-;EDAC MC0: 3 UE on DIMM_B1\n")
        super().__setitem__(key, value)


def test_memory_test_that_fails_names_the_module_first(tmp_path: Path) -> None:
    tree = meminfo(tmp_path, 66)
    edac(tmp_path, 0, 0)
    lay_out(tmp_path, {"dev/kmsg": ""}, {})
    Counted.root = tmp_path
    with pytest.raises(InstallError, match="wrong words") as failure:
        try_memory(Told(), tree, Counted)
    first, *modules, place, kernel = failure.value.output.splitlines()
    assert first == "mc0: 3 uncorrected errors"
    assert modules == ["mc0: 2 corrected errors", "DIMM_B1: 2 corrected errors"]
    assert place.startswith("at 0x101008")
    assert kernel.startswith("kernel: EDAC MC0: 3 UE on DIMM_B1")


class Folded(bytearray):
    """Memory whose second MiB is the first once more: an address line is dead."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if isinstance(key, slice):
            other = (key.start + MIB) % (2 * MIB)
            super().__setitem__(slice(other, other + MIB), value)


def test_memory_test_finds_a_dead_address_line(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="number of block"):
        try_memory(Told(), meminfo(tmp_path, 66), Folded)


def test_memory_test_that_is_cancelled_stops(tmp_path: Path) -> None:
    told = Told()
    told.stop.set("cancelled")
    with pytest.raises(Stopped):
        try_memory(told, meminfo(tmp_path, 66), bytearray)


def edac(root: Path, corrected: int, uncorrected: int) -> MemoryErrors:
    lay_out(
        root,
        {
            "sys/devices/system/edac/mc/mc0/ce_count": f"{corrected}\n",
            "sys/devices/system/edac/mc/mc0/ue_count": f"{uncorrected}\n",
            "sys/devices/system/edac/mc/mc0/dimm3/dimm_label": "DIMM_B1\n",
            "sys/devices/system/edac/mc/mc0/dimm3/dimm_ce_count": f"{corrected}\n",
        },
        {},
    )
    return memory_errors(Tree(root))


def test_memory_errors_name_the_module_that_counted_them(tmp_path: Path) -> None:
    before, after = edac(tmp_path, 2, 0), edac(tmp_path, 5, 1)
    assert after.since(before) == (
        ("mc0: 3 corrected errors", "DIMM_B1: 3 corrected errors"),
        ("mc0: 1 uncorrected errors",),
    )


def test_patterns_are_whole_blocks_and_tell_blocks_apart() -> None:
    patterns = memory_patterns(MIB, 1)
    assert len(patterns) == PATTERNS
    assert {len(pattern.block(7)) for pattern in patterns} == {MIB}
    words = random_pattern(MIB, 1)
    assert len({words.block(number) for number in range(200)}) == 200
    assert words.block(3) == random_pattern(MIB, 1).block(3) != random_pattern(MIB, 2).block(3)


@given(st.integers(min_value=0, max_value=4095), st.integers(min_value=1, max_value=255))
def test_first_difference_is_the_word_that_was_changed(at: int, flipped: int) -> None:
    expected = bytes(range(256)) * 16
    found = bytearray(expected)
    found[at] ^= flipped
    difference = first_difference(expected, bytes(found))
    assert difference.offset == at // 8 * 8
    assert (len(difference.expected), len(difference.found)) == (8, 8)
