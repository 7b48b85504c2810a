"""The order of an install's steps, and what is left behind where one fails."""

import io
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.console import Console
from lpmos.agent.errors import CommandFailed, InstallError, NoAnswer, Stopped, TakenOver
from lpmos.agent.image import PATIENCE_S, ImageStream, Rate
from lpmos.agent.installer import Installer
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.plan import File, Plan, parse_plan
from lpmos.agent.region import Download, Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import RecordedMachine, lay_out, recorded_machine
from tests.support.agent_region import plan_document, plan_for

IMAGE = bytes(range(256)) * 400
TOKEN = "0123456789abcdef" * 4
TIMEOUT_S = 30.0
NO_DELAY = Pace(first_s=0, most_s=0, scale=0)


class FakeDownload(Download):
    """Pieces of bytes, then perhaps an error."""

    def __init__(self, pieces: list[bytes], error: NoAnswer | None) -> None:
        self._pieces = pieces
        self._error = error

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error is not None:
            raise self._error


class FakeRegion(Region):
    """Gives `image` in pieces; each entry of `breaks` ends one download after so many bytes."""

    def __init__(self, image: bytes, *, breaks: tuple[int, ...] = (), silent: bool = False) -> None:
        super().__init__("http://region")
        self.image = image
        self.breaks = list(breaks)
        self.silent = silent
        self.offsets: list[int] = []

    def download(self, path: str, offset: int, size_bytes: int) -> Download:
        self.offsets.append(offset)
        if self.silent:
            raise NoAnswer("connection refused")
        end = offset + self.breaks.pop(0) if self.breaks else len(self.image)
        body = self.image[offset:end]
        pieces = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
        return FakeDownload(pieces, NoAnswer("reset") if end < len(self.image) else None)


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def _plan(image: bytes = IMAGE) -> Plan:
    return parse_plan(plan_document(plan_for(image)))


def _stream(region: FakeRegion, plan: Plan, clock_step_s: float = 0.0) -> bytes:
    now_s = iter(range(1_000_000))
    sink = Sink()
    ImageStream(
        region, Console(io.StringIO()), Stop(), NO_DELAY, lambda: next(now_s) * clock_step_s
    ).stream(plan.image, sink, lambda done, rate: None)
    return sink.data


def test_image_broken_twice_is_resumed_where_it_broke() -> None:
    region = FakeRegion(IMAGE, breaks=(15_000, 0, 20_000))
    assert _stream(region, _plan()) == IMAGE
    assert region.offsets == [0, 15_000, 15_000, 35_000]


def test_image_with_another_digest_is_refused() -> None:
    other = IMAGE[:-1] + b"x"
    with pytest.raises(InstallError, match="sha256") as failure:
        _stream(FakeRegion(other), _plan())
    assert "image verify" in failure.value.hint


def test_image_longer_than_planned_is_refused() -> None:
    with pytest.raises(InstallError, match="more bytes"):
        _stream(FakeRegion(IMAGE + b"x"), _plan())


def test_image_that_stays_silent_ends_after_the_patience() -> None:
    region = FakeRegion(IMAGE, silent=True)
    with pytest.raises(InstallError, match="no new byte"):
        _stream(region, _plan(), clock_step_s=100)
    assert 0 < len(region.offsets) <= PATIENCE_S / 100 + 1


def test_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.at(0, 0) == 0
    for second in range(1, 11):
        rate.at(second, second * 100)
    assert rate.at(11, 11 * 100) == 100
    assert rate.at(30, 11 * 100) < 10


class Setting:
    """One install with nothing real in it."""

    def __init__(self, root: Path, region: FakeRegion | None = None) -> None:
        self.machine: RecordedMachine = recorded_machine("qemu-virtio-bios", root)
        lay_out(root, {f"dev/vda{n}": "" for n in (1, 2, 3)}, {})
        lay_out(root, {"dev/vda": "blank"}, {})
        self.stop = Stop()
        self.commands = RecordingCommands(self.stop)
        self.reports: list[Progress] = []
        self.hear = self.reports.append
        self.target = root / "target"
        self.stream = io.StringIO()
        self.region = region or FakeRegion(IMAGE)
        job = Job(
            self.region,
            Console(self.stream),
            self.stop,
            NO_DELAY,
            lambda progress: self.hear(progress),
            TOKEN,
        )
        self.installer = Installer(
            self.commands, self.machine.tree, job, target=self.target, tick_s=0.001
        )
        lay_out(self.target, {"boot/vmlinuz-6.1": "", "boot/initrd.img-6.1": ""}, {})

    def ran(self, pattern: str) -> list[str]:
        return [line for line in self.commands.ran if pattern in line]

    def mounted(self) -> list[str]:
        left: list[str] = []
        for line in self.commands.succeeded:
            words = line.split()
            if words[0] == "mount":
                left.append(words[-1])
            elif words[0] == "umount":
                left.remove(words[-1])
        return left


def test_install_goes_through_every_stage_in_order(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.installer.run(_plan())
    stages = list(dict.fromkeys(report.stage for report in setting.reports))
    assert stages == ["partitioning", "downloading", "installing", "configuring"]
    percentages = [report.percentage for report in setting.reports]
    assert percentages == sorted(percentages)
    assert percentages[-1] < 100
    moving = [r for r in setting.reports if r.bytes_done]
    assert moving[-1].bytes_done == moving[-1].bytes_total == len(IMAGE)
    assert setting.commands.pipelines[0].data == IMAGE
    assert setting.commands.pipelines[0].finished


def test_install_writes_the_token_for_the_installed_system_and_nowhere_else(
    tmp_path: Path,
) -> None:
    setting = Setting(tmp_path)
    request = File("/etc/lpmos/first-boot.request", "{{FIRST_BOOT_TOKEN}}", 0o600)
    setting.installer.run(_plan()._replace(first_boot=(request,)))
    written = setting.target / "etc/lpmos/first-boot.request"
    assert written.read_text() == TOKEN
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert TOKEN not in setting.stream.getvalue() + repr(setting.reports) + repr(
        setting.commands.ran
    )


def test_install_leaves_nothing_mounted_and_syncs_last(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.installer.run(_plan())
    assert setting.mounted() == []
    assert setting.commands.ran[-1] == "sync"
    assert (setting.target / "etc/hostname").read_text() == "web-1\n"
    assert (setting.target / "etc/machine-id").read_bytes() == b""
    assert "root=UUID=" in (setting.target / "boot/grub/grub.cfg").read_text()


def test_install_that_succeeded_can_still_be_left_blank(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    written = setting.installer.run(_plan())
    done = len(setting.commands.ran)
    setting.stop.set("cancelled")
    written.blank()
    assert setting.commands.ran[done:] == ["wipefs --all --quiet /dev/vda"]


def test_install_under_bios_asks_nothing_of_the_firmware(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.installer.run(_plan())
    assert setting.ran("efibootmgr") == []
    assert len(setting.ran("grub-install")) == 2


def test_install_under_uefi_sets_the_boot_entry(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    lay_out(tmp_path, {"sys/firmware/efi/fw_platform_size": "64"}, {})
    lay_out(setting.target, {"boot/efi/EFI/lpmos/grubx64.efi": ""}, {})
    setting.commands.on("^efibootmgr$", Output(0, "BootCurrent: 0001\nBoot0002* lpmos\n"))
    setting.installer.run(_plan())
    assert setting.ran("--bootorder")[-1].endswith(" 0001,0002")


def test_install_of_a_plan_without_esp_installs_for_bios_only(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    plan = _plan()
    disk = plan.disk._replace(partitions=(plan.disk.partitions[0], plan.disk.partitions[2]))
    setting.installer.run(plan._replace(disk=disk))
    assert setting.ran("vfat") == []
    assert len(setting.ran("grub-install")) == 1


@pytest.mark.parametrize(
    "failing",
    [
        *("wipefs", "sfdisk", "mkfs.vfat", "mkfs.ext4", "mount -t ext4", "mount -t vfat"),
        *("mount --bind", "mount -t proc", "i386-pc", "--removable", "^umount .*target$", "^sync"),
    ],
)
def test_install_whose_command_fails_leaves_no_mount_and_a_blank_disk(
    failing: str, tmp_path: Path
) -> None:
    setting = Setting(tmp_path)
    failures = iter([Output(1, "it broke")])
    setting.commands.on(failing, lambda _: next(failures, Output(0, "")))
    with pytest.raises(CommandFailed) as failure:
        setting.installer.run(_plan())
    assert failure.value.output == "it broke"
    assert failure.value.hint
    assert setting.commands.ran[-1] == "wipefs --all --quiet /dev/vda"
    assert setting.mounted() == []


def test_install_that_meets_a_defect_leaves_no_mount_and_a_blank_disk(tmp_path: Path) -> None:
    setting = Setting(tmp_path)

    def break_down(_: object) -> Output:
        raise ZeroDivisionError("a defect")

    setting.commands.on("i386-pc", break_down)
    with pytest.raises(ZeroDivisionError):
        setting.installer.run(_plan())
    assert setting.commands.ran[-1] == "wipefs --all --quiet /dev/vda"
    assert setting.mounted() == []


def test_install_whose_progress_is_refused_leaves_no_mount_and_a_blank_disk(
    tmp_path: Path,
) -> None:
    setting = Setting(tmp_path)

    def refuse(_: object) -> Output:
        setting.stop.end(InstallError("the region refused progress"))
        return Output(-9, "")

    setting.commands.on("i386-pc", refuse)
    with pytest.raises(InstallError, match="refused progress"):
        setting.installer.run(_plan())
    assert setting.commands.ran[-1] == "wipefs --all --quiet /dev/vda"
    assert setting.mounted() == []


def test_install_on_a_disk_that_cannot_be_read_writes_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("blkid", Output(2, ""))
    (tmp_path / "dev/vda").unlink()
    with pytest.raises(InstallError, match="now holds unreadable"):
        setting.installer.run(_plan())
    assert setting.commands.ran == ["blkid -p -o export /dev/vda"]


def test_install_whose_image_is_damaged_aborts_the_unpacking(tmp_path: Path) -> None:
    setting = Setting(tmp_path, FakeRegion(IMAGE[:-1] + b"x"))
    with pytest.raises(InstallError, match="damaged"):
        setting.installer.run(_plan())
    assert setting.commands.pipelines[0].aborted
    assert not setting.commands.pipelines[0].finished
    assert setting.mounted() == []
    assert setting.ran("grub-install") == []


def test_install_whose_unpacking_fails_names_the_command(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.pipeline_failure = CommandFailed(
        ["tar", "-x"], 2, "tar: usr: Cannot write: No space left on device"
    )
    with pytest.raises(CommandFailed) as failure:
        setting.installer.run(_plan())
    assert "too small" in failure.value.hint


def test_install_on_another_disk_writes_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    plan = _plan()
    with pytest.raises(InstallError, match="nothing was written"):
        setting.installer.run(plan._replace(disk=plan.disk._replace(serial="OTHER")))
    assert setting.commands.ran == []


def test_install_on_a_disk_that_was_written_since_writes_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("blkid", Output(0, "TYPE=xfs\n"))
    with pytest.raises(InstallError, match="now holds xfs"):
        setting.installer.run(_plan())
    assert setting.commands.ran == ["blkid -p -o export /dev/vda"]


def test_install_on_a_disk_that_cannot_erase_as_planned_writes_nothing(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    plan = _plan()
    with pytest.raises(InstallError, match="cannot be erased by an NVMe format"):
        setting.installer.run(plan._replace(disk=plan.disk._replace(erase="nvme_format")))
    assert setting.commands.ran == ["blkid -p -o export /dev/vda"]


def test_erase_of_a_disk_says_each_minute_that_it_goes_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    said = threading.Event()
    report = setting.reports.append

    def hear(progress: Progress) -> None:
        report(progress)
        if progress.message == "clearing /dev/vda for 0 min":
            said.set()

    setting.hear = hear
    setting.commands.on("blkdiscard", lambda _: Output(0 if said.wait(TIMEOUT_S) else 1, ""))
    plan = _plan()
    setting.installer.run(plan._replace(disk=plan.disk._replace(erase="discard")))
    assert said.is_set()
    assert next(each.percentage for each in setting.reports if "for 0 min" in each.message) == 2


@pytest.mark.parametrize("at", ["sfdisk", "mkfs.ext4", "grub-install --target=i386-pc"])
def test_install_that_is_cancelled_unmounts_and_leaves_a_blank_disk(
    at: str, tmp_path: Path
) -> None:
    setting = Setting(tmp_path)
    after = _ended(setting, at, Stopped("cancelled"))
    assert after[-1] == "wipefs --all --quiet /dev/vda"
    assert all(line.startswith(("umount ", "wipefs ")) for line in after)
    assert setting.mounted() == []


@pytest.mark.parametrize("at", ["sfdisk", "mkfs.ext4", "grub-install --target=i386-pc"])
def test_install_that_another_run_took_over_unmounts_and_writes_nothing_more(
    at: str, tmp_path: Path
) -> None:
    setting = Setting(tmp_path)
    after = _ended(setting, at, TakenOver("claimed by another run"))
    assert all(line.startswith("umount ") for line in after)
    assert setting.mounted() == []


def _ended(setting: Setting, at: str, by: Stopped) -> list[str]:
    """What is run after an install was ended during the command `at`."""

    def stop(_: object) -> Output:
        setting.stop.end(by)
        return Output(-9, "")

    setting.commands.on(at, stop)
    with pytest.raises(type(by), match=str(by)):
        setting.installer.run(_plan())
    last = next(n for n, line in enumerate(setting.commands.ran) if at in line)
    return setting.commands.ran[last + 1 :]
