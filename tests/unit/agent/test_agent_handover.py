"""The hand-over to an installer: what is loaded and started, and what is not said."""

import hashlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.commands import Output
from lpmos.agent.console import Console
from lpmos.agent.diskplan import Volume, VolumeGroup
from lpmos.agent.errors import InstallError, NoAnswer
from lpmos.agent.handover import HandingOver, Handover, parse_handover
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.region import Download, Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop
from lpmos.model.installer import InstallerFile, InstallerPlan
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out, recorded_machine
from tests.support.agent_region import plan_document, plan_for

KERNEL, INITRD = b"kernel" * 1_000, b"initrd" * 9_000
LINE = "auto=true url=http://10.0.0.1:8081/installer/a.secret.token/answer"
NO_DELAY = Pace(first_s=0.0, most_s=0.0, scale=0.0)


class Pieces(Download):
    """What comes of one download, and how it ends."""

    def __init__(self, body: bytes, error: NoAnswer | None) -> None:
        self._body = body
        self._error = error

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Any:
        yield self._body
        if self._error:
            raise self._error


class Files(Region):
    """Gives both files; the first download breaks in its middle."""

    def __init__(self, initrd: bytes = INITRD) -> None:
        super().__init__("http://region")
        self.files = {"/k": KERNEL, "/i": initrd}
        self.offsets: list[tuple[str, int]] = []

    def download(self, path: str, offset: int, size_bytes: int) -> Download:
        self.offsets.append((path, offset))
        body = self.files[path][offset:]
        if len(self.offsets) == 1:
            return Pieces(body[:1_000], NoAnswer("reset"))
        return Pieces(body, None)


def document(**changes: Any) -> dict[str, Any]:
    def file(url: str, content: bytes) -> InstallerFile:
        sha256 = hashlib.sha256(content).hexdigest()
        return InstallerFile(url=url, sha256=sha256, size_bytes=len(content))

    installer = InstallerPlan(
        name="debian-12",
        family="debian",
        kernel=file("/k", KERNEL),
        initrd=file("/i", INITRD),
        kernel_arguments=LINE,
    )
    whole = msgspec.structs.replace(installer, **changes)
    by_installer = msgspec.structs.replace(plan_for(b""), image=None, installer=whole)
    return plan_document(by_installer)


def plan(**changes: Any) -> Handover:
    taken = parse_handover(document(**changes))
    assert taken is not None
    return taken


class Setting:
    """A machine with the approved disk, and nothing real in it."""

    def __init__(self, root: Path, region: Files | None = None) -> None:
        self.machine = recorded_machine("qemu-virtio-bios", root)
        lay_out(root, {"dev/vda": "blank"}, {})
        self.region = region or Files()
        self.commands = RecordingCommands(Stop())
        self.reports: list[Progress] = []
        self.said = io.StringIO()
        self.directory = root / "run"
        job = Job(
            self.region, Console(self.said), self.commands.stop, NO_DELAY, self.reports.append
        )
        self.handing_over = HandingOver(
            self.commands, self.machine.tree, job, directory=self.directory
        )


def test_load_gives_both_files_to_kexec_whole_and_says_nothing_of_the_line(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    held: dict[str, bytes] = {}

    def kexec(argv: Any) -> Output:
        held["kernel"] = Path(argv[3]).read_bytes()
        held["initrd"] = Path(argv[4].removeprefix("--initrd=")).read_bytes()
        held["line"] = argv[5].removeprefix("--command-line=").encode()
        return Output(0, "")

    setting.commands.on("^kexec", kexec)
    assert setting.handing_over.load(plan()) is None
    assert held == {"kernel": KERNEL, "initrd": INITRD, "line": LINE.encode()}
    assert setting.region.offsets == [("/k", 0), ("/k", 1_000), ("/i", 0)]
    assert "token" not in setting.said.getvalue()
    assert [each.stage for each in setting.reports] == ["handing_over"] * len(setting.reports)
    percentages = [each.percentage for each in setting.reports]
    assert percentages == sorted(percentages) and percentages[-1] == 2.0
    assert list(setting.directory.iterdir()) == []


def test_load_where_kexec_is_refused_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    text = "kexec_load failed: Operation not permitted\n"
    setting.commands.on("^kexec", Output(255, text))
    why = setting.handing_over.load(plan())
    assert why == "kexec: kexec_load failed: Operation not permitted"
    assert list(setting.directory.iterdir()) == []


def test_load_where_the_region_wants_a_restart_loads_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    assert setting.handing_over.load(plan(handover="restart")) == "its region says so"
    assert setting.region.offsets == []


MARK = "0b0b6f5e-0000-4000-8000-00000000000a"


def test_load_with_a_mark_clears_the_approved_disk_and_gives_it_that_id(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    marked = plan(handover="restart", disk_mark=MARK)
    assert setting.handing_over.load(marked) == "its region says so"
    assert setting.commands.ran[-2:] == [
        "wipefs --all --quiet /dev/vda",
        "sfdisk --quiet --wipe always /dev/vda",
    ]
    table = setting.commands.stdin["sfdisk --quiet --wipe always /dev/vda"]
    assert table == f"label: gpt\nlabel-id: {MARK}\n"
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["sfdisk", "--quiet", str(image)], input=table.encode(), check=True, timeout=60)
    read = subprocess.run(["sfdisk", "-J", str(image)], capture_output=True, check=True, timeout=60)
    found = json.loads(read.stdout)["partitiontable"]
    assert (found["label"], found["id"].lower(), found.get("partitions", [])) == ("gpt", MARK, [])


def test_load_with_a_mark_writes_nothing_where_the_disk_is_not_as_approved(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    lay_out(tmp_path, {"dev/vda": "ext4"}, {})
    setting.commands.on("^blkid", Output(0, "TYPE=ext4\nUSAGE=filesystem\n"))
    with pytest.raises(InstallError, match="ext4"):
        setting.handing_over.load(plan(handover="restart", disk_mark=MARK))
    assert not any("sfdisk" in line or "wipefs" in line for line in setting.commands.ran)


@pytest.mark.parametrize("mark", [1, "", "x", f"{MARK}\n", MARK.upper()])
def test_mark_that_is_no_uuid_is_not_understood(mark: object) -> None:
    with pytest.raises(InstallError, match="disk_mark"):
        parse_handover(document(disk_mark=mark))


def test_load_of_other_bytes_fails_before_kexec(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Files(INITRD[:-1] + b"x"))
    with pytest.raises(InstallError, match="damaged"):
        setting.handing_over.load(plan())
    assert not any("kexec" in line for line in setting.commands.ran)


def test_load_on_a_disk_that_was_written_since_the_approval_is_refused(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    lay_out(tmp_path, {"dev/vda": "ext4"}, {})
    setting.commands.on("^blkid", Output(0, "TYPE=ext4\nUSAGE=filesystem\n"))
    with pytest.raises(InstallError, match="ext4"):
        setting.handing_over.load(plan())
    assert setting.region.offsets == []


def test_load_where_another_disk_has_a_planned_volume_group_is_refused(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("^lvm pvs", Output(0, "  /dev/vdb1 vg0\n"))
    wanted = plan()
    group = VolumeGroup("vg0", "p3", (Volume("root", None),))
    with pytest.raises(InstallError, match=r"/dev/vdb1 already has a volume group vg0"):
        setting.handing_over.load(wanted._replace(disk=wanted.disk._replace(groups=(group,))))
    assert setting.region.offsets == []


def test_load_where_an_old_array_reaches_another_disk_is_refused(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("^blkid", Output(0, "TYPE=linux_raid_member\n"))
    line = "ARRAY /dev/md/0 metadata=1.2 UUID=a:b:c:d\n   devices=/dev/vda,/dev/vdb\n"
    setting.commands.on("^mdadm --examine", Output(0, line))
    wanted = plan()
    disk = wanted.disk._replace(overwrites=("linux_raid_member",))
    with pytest.raises(InstallError, match=r"/dev/vda stands in array a:b:c:d .* /dev/vdb"):
        setting.handing_over.load(wanted._replace(disk=disk))
    assert setting.region.offsets == []


def test_start_comes_back_only_with_the_reason_why_not(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("^kexec -e", Output(1, "Nothing has been loaded!\n"))
    assert setting.handing_over.start() == "kexec: Nothing has been loaded!"


def test_plan_of_an_image_is_no_hand_over() -> None:
    assert parse_handover(plan_document(plan_for(b"x"))) is None


@given(st.sampled_from(["url", "sha256", "size_bytes"]), st.none() | st.booleans() | st.just("//x"))
def test_plan_with_a_wrong_field_is_refused(name: str, value: object) -> None:
    wrong = document()
    wrong["installer"]["kernel"][name] = value
    if name == "sha256" and value == "//x":
        return  # any text is compared with the digest of what comes
    with pytest.raises(InstallError):
        parse_handover(json.loads(json.dumps(wrong)))
