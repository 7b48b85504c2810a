"""Windows's boot script on firmware: iPXE, the real wimboot, and a WIM with a stand-in for Windows.

There is no Windows here. `WIMBOOT` names a wimboot; the WIM is made by wimlib, and what stands in
it for Windows's boot manager is GRUB. What is asserted is that iPXE fetched every file of the
script from the region, that wimboot took each by its name, put those of this machine into the
WIM's directory of programs, and started what stood in the WIM.
With BIOS nothing can stand in for `bootmgr.exe`: there it is how wimboot ends for want of it.
"""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lpmos.core.clock import utc_now
from lpmos.core.secrets.box import SecretBox
from lpmos.core.tasks import Tasks
from lpmos.images.installers import InstallerFields, Installers
from lpmos.images.windows_files import WindowsSources
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Disk
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.region import AGENT_ID, running, until
from tests.support.secret_keys import KeptKeys
from tests.support.windows import curl_exe, real_wim

GUEST_TIMEOUT_S = 600.0
ENDS = ("STAND-IN ends", "FATAL: no bootmgr.exe", "No bootable device")
OVMF = Path("/usr/share/OVMF/OVMF_CODE.fd")
FILES = ("BCD", "boot.sdi", "curl.exe", "winpeshl.ini", "lpmos.cmd", "boot.wim")
SETUP = {
    "users": [{"name": "administrator"}],
    "secrets": {"PASSWORD_ADMINISTRATOR": "Correct-Horse-1"},
}
OS: dict[str, Any] = {"os_type": "windows", "os_version": "server-2022"}
GRUB_CONFIG = """\
serial --unit=0 --speed=115200
terminal_output serial
echo STAND-IN started
echo STAND-IN ends
halt
"""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def own_address() -> str:
    """An address of this host that is not its loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def add_installer(directory: Path) -> None:
    """The real wimboot, and a WIM in which GRUB stands for Windows's boot manager."""
    wimboot = Path(os.environ["WIMBOOT"])
    config = directory / "grub.cfg"
    config.write_text(GRUB_CONFIG)
    loader = directory / "boot.tree/Windows/Boot/EFI/bootmgfw.efi"
    loader.parent.mkdir(parents=True)
    subprocess.run(
        ["grub-mkstandalone", "-O", "x86_64-efi", "-o", str(loader),
         f"boot/grub/grub.cfg={config}"],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    for name, content in (
        ("BCD", b"regf" + bytes(4092)),
        ("boot.sdi", b"$SDI0001" + bytes(8184)),
        ("curl.exe", curl_exe()),
    ):
        (directory / name).write_bytes(content)
    sources = WindowsSources(
        bcd=directory / "BCD",
        boot_sdi=directory / "boot.sdi",
        curl=directory / "curl.exe",
        install=real_wim(directory / "install.wim", "Server", check=True),
    )
    wim = real_wim(directory / "boot.wim", "Windows PE", boot=1)
    fields = InstallerFields(name="windows", family="windows", repository="/", **OS)
    Installers(directory / "images").add(fields, wimboot, wim, sources)


async def guest(url: str, directory: Path, *, uefi: bool) -> str:
    """What a machine says on its serial line that boots the region's script, until it is over."""
    log = directory / "serial.log"
    firmware = ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"] if uefi else []
    process = await asyncio.create_subprocess_exec(
        "qemu-system-x86_64", "-nodefaults", "-machine", "q35,graphics=off", "-m", "768",
        "-display", "none",
        *firmware,
        "-netdev", f"user,id=n,bootfile={url}",
        "-device", f"virtio-net-pci,netdev=n,mac={MAC},bootindex=1",
        "-serial", f"file:{log}", "-no-reboot",
    )  # fmt: skip
    try:
        await until(lambda: any(end in said(log) for end in ENDS), "the end", GUEST_TIMEOUT_S)
    finally:
        process.terminate()
        await process.wait()
    return said(log)


def said(log: Path) -> str:
    """The serial line so far."""
    return log.read_text(errors="replace") if log.exists() else ""


@pytest.fixture(params=[False, True], ids=["bios", "uefi"])
def uefi(request: pytest.FixtureRequest) -> Iterator[bool]:
    yield bool(request.param)


async def test_machine_loads_windows_pe_by_the_one_script(tmp_path: Path, uefi: bool) -> None:
    add_installer(tmp_path)
    keys = KeptKeys()
    address = own_address()
    async with running(tmp_path, address=address, read_ring=keys.read) as region:
        tasks = Tasks(region.store, region.fleet, utc_now, secrets=SecretBox(keys.ring))
        task = await tasks.create(make_spec(**OS, hostname="web-1", setup=SETUP), by=actor("admin"))
        await region.task_in(task.task_id, "ready")
        disks = (Disk(device="/dev/vda", size_bytes=64 * GIB, kind="ssd", serial="DISK01"),)
        hardware = make_inventory(disks=disks, boot_mode="uefi" if uefi else "bios")
        status, body = await region.report(hardware=json.loads(msgspec.json.encode(hardware)))
        assert status == 200, body
        await region.task_in(task.task_id, "pending_approval")
        await tasks.approve(task.task_id, by=actor("admin"), notes=None)
        await region.task_in(task.task_id, "approved")
        assert (await region.claim(task))[0] == 200
        await region.task_in(task.task_id, "installing")
        word = {"mac_address": MAC, "task_id": task.task_id, "agent_id": AGENT_ID}
        over = {"status": "handing_over", "handover": "restart", "progress": 2, "message": "done"}
        assert (await region.post("/api/v1/agent/status", {**word, **over}))[0] == 200
        text = await guest(f"{region.url}/boot/ipxe?mac={MAC}&sn=SN-1", tmp_path, uefi=uefi)
        given = await region.stored_task(task)
    assert given.handover is not None and given.handover.script_at is not None, text
    for name in FILES:
        assert f"Using {name} via" in text, text
    for name in ("curl.exe", "winpeshl.ini", "lpmos.cmd"):
        assert f"patching WIM {name} at" in text, text
    if uefi:
        assert "STAND-IN started" in text, text
    else:
        assert "FATAL: no bootmgr.exe" in text, text
