"""The language of conditions: what holds, what is refused, and that nothing ever gets out."""

import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lpmos.core.rules.conditions import LIST_LIMIT, Condition, Verdict, ask, check_condition
from lpmos.core.rules.facts import Facts, facts_of_report, facts_of_task, sample_facts
from lpmos.model.diskplan import GIB, plan_disk
from lpmos.model.errors import InvalidInput
from lpmos.model.inventory import Cpu, Disk, Inventory, Memory, Nic, Product
from tests.support.builders import MAC, NOW, make_inventory, make_task

SLOWEST_S = 3.0
"""Of this thread: what else the machine does is not counted. Far above what the slowest takes."""


def task_facts(**machine: Any) -> Facts:
    inventory = make_inventory(**machine)
    task = make_task(hardware=inventory, tags={"role": "web"})
    plan = plan_disk(inventory, "auto", task.root_disk, GIB)
    return facts_of_task(msgspec.structs.replace(task, plan=plan))


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "machine.memory.total_bytes >= 2*GiB && machine.memory.total_bytes < 1*TiB",
        "machine.disks.size() == 1 && machine.disks[0].kind == 'ssd'",
        "machine.disks.all(d, d.size_bytes >= 8*GiB)",
        "machine.nics.exists(n, n.booted && n.mac.startsWith('52:54:00'))",
        "machine.disks.filter(d, d.kind == 'ssd').size() == 1",
        "machine.disks.exists_one(d, d.serial == plan.serial)",
        "machine.boot_mode == 'bios'",
        "!has(machine.tpm_version)",
        "task.os_type == 'debian' && task.tags['role'] == 'web'",
        "task.tags.role == 'web' && 'role' in task.tags && !('x' in task.tags)",
        "task.attempt == 1 && task.created_by != 'rule:x' && !has(task.tenant)",
        "plan.device == '/dev/vda' && size(plan.overwrites) == 0 && plan.size_bytes < 10*GB",
        "task.hostname.matches('^sn-[0-9]+$')",
        "machine.cpu.cores > 0 ? plan.size_bytes > 0 : false",
        "task.idc in ['dc1', 'dc2'] // the near ones",
    ],
)
def test_condition_that_is_true_of_the_machine_matches(condition: str) -> None:
    check_condition(condition, "approve")

    verdict = ask(condition, "approve", task_facts())

    assert verdict.matched, verdict.reason


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("machine.memory.total_bytes >= 64*GiB", "machine.memory.total_bytes = 2147483648"),
        ("machine.product.vendor == 'Dell Inc.'", "nothing is known of machine.product.vendor"),
        ("machine.tpm_version == '2.0'", "nothing is known of machine.tpm_version"),
        ("machine.pci.size() == 0", "nothing is known of machine.pci"),
        ("!('avx' in machine.cpu.flags)", "nothing is known of machine.cpu.flags"),
        ("task.tags['owner'] == 'x'", "nothing is known of a field owner"),
        ("machine.disks[4].kind == 'ssd'", "index out of bounds"),
        ("machine.cpu.cores / 0 == 1", "division by zero"),
        ("machine.memory.total_bytes * PiB > 1", "overflow"),
        ("int(task.os_version + 'x') > 1", "int"),
    ],
)
def test_condition_that_cannot_be_said_does_not_match_and_says_why(
    condition: str, why: str
) -> None:
    verdict = ask(condition, "approve", task_facts())

    assert not verdict.matched
    assert why in verdict.reason


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "no expression"),
        ("machine.cpu.cores >", "no expression"),
        ("machine.cpu.cores > 1 && 99999999999999999999 > 1", "no expression"),
        ("(" * 200 + "true" + ")" * 200, "no expression"),
        ("\ud800", "no expression"),
        ("machine.cpu.cores", "gives int"),
        ("'yes'", "gives str"),
        ("machine.cpu.cores > 'many'", "No such overload"),
        ("true || machine.cpuu.cores > 1", "machine.cpuu is unknown"),
        ("has(machine.tmp_version)", "machine.tmp_version is unknown"),
        ("machine.disks.exists(d, d.sise > 1)", "sise is unknown"),
        ("machine.disks.filter(d, d.kind == 'ssd').all(d, d.x)", "x is unknown"),
        ("machine.disks.size_bytes > 1", "a list has no fields"),
        ("machine.cpu.cores.x > 1", "has no fields"),
        ("machine['cpu'].cores > 1", "with a dot"),
        ("machine == machine", "name a field of machine"),
        ("cores > 1", "cores is unknown"),
        ("true || launch(1)", "no function launch"),
        ("true || task.sn.launch()", "no .launch()"),
        ("machine.disks.map(d, d.kind).size() > 1", "no .map()"),
        ("report.sn == 'x'", "report is unknown"),
        ("machine.disks.all(d, machine.nics.all(n, true))", "in another macro"),
        ("machine.disks.all()", ".all() takes"),
        (" && ".join(["machine.disks.all(d, true)"] * 4), "more than 3 macros"),
        (" && ".join(["size(machine.disks) > 0"] * 9), "more than 8 times"),
        ("task.sn.matches(task.hostname)", "one text in quotes"),
        ("machine.disks.all(d, d.device.matches('a'))", "cannot stand in a macro"),
        ("task.sn.matches('a{9}')", "may not have {}"),
        ("task.sn.matches('a\\x7b9}')", "may not have {}"),
        ("task.sn.matches('\\\\p{L}')", "may not have {}"),
        (f"task.sn.matches('{'a' * 101}')", "more than 100 characters"),
        ("task.sn.matches('(')", "not a valid regex"),
        ("true" + " " * 1000, "longer than 1000"),
    ],
)
def test_condition_that_is_none_is_refused_by_name(condition: str, why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_condition(condition, "approve")

    assert {problem.field for problem in refused.value.problems} == {"condition"}
    assert why in str(refused.value)


def test_condition_of_a_create_rule_knows_the_report_and_no_task() -> None:
    facts = facts_of_report("dc1", MAC, None, make_inventory())

    assert ask(f"report.idc == 'dc1' && report.mac == '{MAC}'", "create", facts).matched
    assert not ask("report.sn == 'SN-1'", "create", facts).matched
    with pytest.raises(InvalidInput, match="task is unknown"):
        check_condition("task.sn == 'SN-1'", "create")


def test_condition_of_a_task_without_a_plan_says_that_there_is_none() -> None:
    verdict = ask("plan.size_bytes > 1", "approve", facts_of_task(make_task()))

    assert verdict == Verdict(matched=False, reason="there is no plan yet")


def test_verdict_names_the_values_of_the_fields_that_the_condition_names() -> None:
    verdict = ask("machine.disks.size() > 0 && task.os_version == '12'", "approve", task_facts())

    assert verdict.reason == 'machine.disks = 1 entries, task.os_version = "12"'


def test_text_of_the_machine_stays_short_and_quoted_in_a_reason() -> None:
    facts = task_facts(product=Product(name="x\n" * 4000))

    verdict = ask("machine.product.name == 'y'", "approve", facts)

    assert len(verdict.reason) < 100
    assert "\n" not in verdict.reason


def test_list_that_is_too_long_is_not_looked_at() -> None:
    flags = tuple(f"flag{number}" for number in range(LIST_LIMIT + 1))

    verdict = ask("machine.cpu.flags.all(f, true)", "approve", task_facts(cpu=Cpu(flags=flags)))

    assert not verdict.matched
    assert "513 entries" in verdict.reason


def many_disks(count: int, nics: int = 1) -> Inventory:
    """A machine whose last disk alone holds something; as it is kept."""
    blank = Disk(
        device="/dev/sd",
        size_bytes=16_000 * GIB,
        kind="hdd",
        model="A MODEL WITH A LONG NAME AS THEY HAVE",
        serial="S",
        wwn="0x5000c500",
    )
    full = msgspec.structs.replace(blank, contents=("lvm",))
    return make_inventory(
        disks=(*(blank,) * (count - 1), full),
        nics=tuple(Nic(interface=f"eth{n}", mac=MAC) for n in range(nics)),
        cpu=Cpu(flags=("aes",)),
    ).bounded()


@pytest.mark.parametrize("inventory", [many_disks(400), many_disks(2, nics=600)])
@pytest.mark.parametrize(
    "condition",
    ["machine.disks.all(d, size(d.contents) == 0)", "!machine.disks.exists(d, d.kind == 'ssd')"],
)
def test_disks_that_were_left_out_are_not_taken_for_none(
    inventory: Inventory, condition: str
) -> None:
    """What was kept of an inventory that is too large has not all disks in it."""
    assert not inventory.disks or not inventory.disks[-1].contents

    verdict = ask(condition, "create", facts_of_report("dc1", MAC, None, inventory))

    assert not verdict.matched
    assert "may not be all of its disks" in verdict.reason


def test_all_disks_of_a_machine_with_many_are_looked_at() -> None:
    facts = facts_of_report("dc1", MAC, None, many_disks(60))
    assert ask("machine.disks.exists(d, size(d.contents) == 1)", "create", facts).matched


def test_stored_condition_that_is_no_longer_one_does_not_match() -> None:
    assert not ask("machine.gone > 1", "approve", task_facts()).matched


@pytest.mark.parametrize(
    "condition",
    [
        "machine.cpu.flags.all(f, " + "&&".join(["f in machine.cpu.flags"] * 7) + ")",
        "machine.cpu.flags" + ".filter(f, f != 'x')" * 3 + ".size() == 512",
        "machine.cpu.flags.all(f, " + "&&".join(["f != 'x'"] * 80) + ")",
        " && ".join(["!task.sn.matches('" + "\\\\w" * 33 + "')"] * 7),
        "1" + "+1" * 490 + " > 0",
        "!" * 990 + "true",
    ],
)
def test_dearest_conditions_take_a_bounded_time(condition: str) -> None:
    facts = task_facts(cpu=Cpu(flags=tuple(f"flag{number}" for number in range(LIST_LIMIT))))
    check_condition(condition, "approve")
    started = time.thread_time()

    verdict = ask(condition, "approve", facts)

    assert verdict.matched, verdict.reason
    assert time.thread_time() - started < SLOWEST_S


NAMES = st.sampled_from(
    [
        "machine.cpu.cores",
        "machine.cpu.flags",
        "machine.disks",
        "machine.disks[0].size_bytes",
        "machine.disks[0].serial",
        "machine.memory.total_bytes",
        "machine.nics",
        "machine.product.name",
        "machine.tpm_version",
        "machine.pci",
        "plan.size_bytes",
        "plan.overwrites",
        "task.tags",
        "task.tags['a']",
        "task.sn",
        "GiB",
        "d",
        "d.size_bytes",
        "nothing",
    ]
)
LITERALS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.sampled_from(["true", "false", "null", "1.5", "0u", "[]", "[1, 'a']", "{'a': 1}"]),
    st.text(max_size=5).map(lambda text: repr(text)),
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.sampled_from(
        ["&&", "||", "==", "!=", "<", ">=", "+", "-", "*", "/", "%", "in", "?"]
    )
    call = st.sampled_from(["size", "has", "int", "uint", "double", "string"])
    method = st.sampled_from(["contains", "startsWith", "endsWith", "matches", "size", "map"])
    macro = st.sampled_from(["all", "exists", "exists_one", "filter", "map"])
    return st.one_of(
        st.tuples(inner, binary, inner).map(
            lambda parts: (
                f"({parts[0]} {parts[1]} {parts[2]})"
                if parts[1] != "?"
                else f"({parts[0]} ? {parts[2]} : {parts[0]})"
            )
        ),
        inner.map(lambda text: f"!{text}"),
        inner.map(lambda text: f"-{text}"),
        st.tuples(call, inner).map(lambda parts: f"{parts[0]}({parts[1]})"),
        st.tuples(inner, method, inner).map(lambda parts: f"{parts[0]}.{parts[1]}({parts[2]})"),
        st.tuples(inner, macro, inner).map(lambda parts: f"{parts[0]}.{parts[1]}(d, {parts[2]})"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
    )


EXPRESSIONS = st.recursive(st.one_of(NAMES, LITERALS), _compound, max_leaves=12)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.integers(0, 64))
WORDS = st.one_of(st.none(), st.text(max_size=20), st.just("\ud800"), st.just("x" * 5000))
MACHINES = st.builds(
    Inventory,
    collected_at=st.just(NOW),
    boot_mode=st.sampled_from(["bios", "uefi"]),
    product=st.builds(Product, vendor=WORDS, name=WORDS),
    cpu=st.builds(
        Cpu, cores=NUMBERS, model=WORDS, flags=st.sampled_from([(), ("aes",), ("a",) * 600])
    ),
    memory=st.builds(Memory, total_bytes=NUMBERS),
    disks=st.lists(
        st.builds(
            Disk,
            device=st.text(max_size=8),
            size_bytes=NUMBERS,
            kind=st.sampled_from(["ssd", "hdd", "nvme"]),
            serial=WORDS,
        ),
        max_size=4,
    ).map(tuple),
    nics=st.lists(
        st.builds(Nic, interface=st.text(max_size=4), mac=st.text(max_size=17)), max_size=3
    ).map(tuple),
    tpm_version=WORDS,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=EXPRESSIONS, machine=MACHINES)
def test_any_expression_of_any_machine_ends_in_a_verdict(text: str, machine: Inventory) -> None:
    facts = {**sample_facts("approve"), "machine": machine}
    started = time.thread_time()

    verdict = ask(text, "approve", facts)

    assert isinstance(verdict.matched, bool)
    assert 0 < len(verdict.reason) <= 400
    assert time.thread_time() - started < SLOWEST_S


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=1100))
@example(text="'''a''''")
@example(text="machine.disks.all(")
@example(text="x" * 1000)
@example(text="// nothing")
def test_any_text_is_a_condition_or_refused_by_name(text: str) -> None:
    try:
        Condition(text, "approve")
    except InvalidInput as refused:
        assert all(problem.field == "condition" for problem in refused.problems)
        assert all(problem.message for problem in refused.problems)


def test_conditions_of_the_guide_are_conditions() -> None:
    guide = (Path(__file__).parents[3] / "docs/how-to/rules.md").read_text()
    table = guide.partition("| condition | true of |")[2].partition("\n\n")[0]
    conditions = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    examples = re.findall(r'--condition "([^"]+)"', guide)
    zero_touch = re.findall(r'"condition": "([^"]+)"', guide)

    assert (len(conditions), len(examples), len(zero_touch)) == (7, 2, 1)
    for condition in (*conditions, *examples):
        check_condition(condition, "approve")
    for condition in zero_touch:
        check_condition(condition, "create")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("machine.cpu.cores >=", "ends too early"),
        ("machine.cpu.cores = 3", "write == to compare"),
        ("machine.cpu.cores > 2 and true", "write && for 'and'"),
        ("(true", "')' is missing at character 6"),
        ("'abc", "has no end"),
    ],
)
def test_condition_that_is_no_expression_is_refused_in_plain_words(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_condition(text, "approve")
    assert words in str(refused.value)
    assert not any(each in str(refused.value) for each in ("EOF", "input", "token", "IDENTIFIER"))
