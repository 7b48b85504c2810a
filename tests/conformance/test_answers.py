"""Every family of installers makes of the same task the same system, and says how far it is."""

import pytest

from lpmos.install import answers
from lpmos.install.answers import checks, samples
from lpmos.install.answers.quoting import shell
from lpmos.model.diskplan import GIB, DiskPlan, PartitionWish, StorageLayout
from lpmos.model.errors import InvalidInput
from lpmos.model.installer import FAMILIES, Family
from lpmos.model.setup import Account, Setup
from tests.support.answers import (
    READERS,
    SHELL_FAMILIES,
    Storage,
    answer_of,
    answer_task,
    read_release,
)
from tests.support.builders import make_task

CUSTOM = StorageLayout(
    filesystem="xfs",
    swap_bytes=2 * GIB,
    partitions=(
        PartitionWish(mount="/var", size_bytes=8 * GIB, filesystem="ext4"),
        PartitionWish(mount="/srv", fill=True, min_bytes=GIB),
    ),
)
LAYOUTS: dict[str, str | StorageLayout] = {
    "auto": "auto",
    "lvm": "lvm",
    "raid1": "raid1",
    "raid1-lvm": StorageLayout(raid="raid1", lvm=True, swap_bytes=GIB),
    "custom": CUSTOM,
    "encrypted": StorageLayout(lvm=True, encrypt=True),
}
MADE_BY_ALL = ("auto", "lvm", "raid1", "raid1-lvm", "custom")
RELEASES = [
    (family, *release) for family in SHELL_FAMILIES for release in answers.FAMILIES[family].releases
]


def wanted(plan: DiskPlan) -> Storage:
    """What a plan says, in no installer's words."""
    return Storage(
        disks=len(plan.disks),
        systems=frozenset((each.mount or each.kind, each.kind) for each in plan.made_filesystems),
        arrays=tuple((each.level, len(plan.disks)) for each in plan.arrays),
        volumes=frozenset((g.id, volume.name) for g in plan.groups for volume in g.volumes),
        encrypted=bool(plan.encrypted),
    )


def test_every_family_has_its_answers_a_reader_and_a_check() -> None:
    assert set(answers.FAMILIES) == set(FAMILIES) == set(checks.CHECKS)
    assert {*READERS, "windows"} == set(FAMILIES)


@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_answer_makes_the_planned_disks_or_the_family_refuses_them(
    family: Family, layout: str, uefi: bool
) -> None:
    task = answer_task(layout=LAYOUTS[layout], uefi=uefi)
    assert task.plan is not None
    manifest = samples.manifest_of(answers.FAMILIES[family], *answers.FAMILIES[family].releases[1])
    if answers.plan_problems(manifest, task.plan, task.hardware):
        assert layout not in MADE_BY_ALL
        with pytest.raises(InvalidInput, match="disk_layout"):
            answer_of(family, task)
        return
    assert READERS[family](answer_of(family, task)).storage == wanted(task.plan)


@pytest.mark.parametrize(("family", "os_type", "os_version"), RELEASES)
def test_answer_of_every_release_is_in_its_installers_language(
    family: Family, os_type: str, os_version: str
) -> None:
    of = answers.FAMILIES[family]
    for task, manifest in samples.tried(of):
        if (manifest.os_type, manifest.os_version) != (os_type, os_version):
            continue
        values = answers.variables(task, manifest, samples.URLS, samples.sealed(task))
        text = answers.render(family, values)
        assert task.plan is not None
        assert read_release(family, text, os_type, os_version).storage == wanted(task.plan)
        assert values["task"]["os_type"].strip("'\"") == os_type


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_answer_finds_each_disk_by_its_identity_and_uses_no_name_of_another_boot(
    family: Family,
) -> None:
    task = answer_task(layout="raid1")
    text = answer_of(family, task)
    assert task.plan is not None
    scripts = "".join(READERS[family](text).scripts)
    for disk in task.plan.disks:
        named = f"lpmos_disk '{disk.device}' '{disk.size_bytes}' '{disk.serial}' ''"
        assert named in scripts
        assert text.count(disk.device) == 1


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_answer_reports_progress_the_end_and_the_failure_and_makes_the_first_boot_tell(
    family: Family,
) -> None:
    setup = Setup(users=(Account(name="admin"),), packages=("tmux",), commands=("echo done",))
    task = answer_task(setup=setup)
    early, *_, late = READERS[family](answer_of(family, task)).scripts[:3]
    if family in ("rhel", "ubuntu"):
        early, late, failure = READERS[family](answer_of(family, task)).scripts
        assert 'lpmos_failed "the installer gave up"' in failure
    urls = samples.URLS
    for url in (urls.progress, urls.failed, urls.installed):
        assert shell(url) in early
    assert "lpmos_state() {" in early
    steps = [late.index(text) for text in ("'packages'", "'user admin'", "echo done")]
    assert steps == sorted(steps)
    assert late.index("echo done") < late.index(shell(urls.first_boot))
    assert late.index(shell(urls.first_boot)) < late.index('"$lpmos_installed_url"')


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_answer_without_a_disk_plan_is_refused(family: Family) -> None:
    of = answers.FAMILIES[family]
    manifest = samples.manifest_of(of, *of.releases[0])
    with pytest.raises(InvalidInput, match="not known yet"):
        answers.variables(make_task(), manifest, samples.URLS)
