"""Boot images for tests, built with the repository's own cache of packages."""

from pathlib import Path

from lpmos.images.agent_image import BuiltAgent, build_agent_image
from lpmos.lab.stage import QUICK_LEVEL
from tests.support.lab_images import CACHE_DIR, IMAGES_DIR

INSPECTOR = '''
"""Stands in for the agent: shows what the image found, and ends as the kernel line says."""
import os
import re
from pathlib import Path


def driver(device):
    return os.path.basename(os.path.realpath(device / "driver"))


def find(pattern):
    return sorted(Path("/sys").glob(pattern))


for nic in find("class/net/*/device"):
    print("found NIC", driver(nic))
for disk in find("block/*/size"):
    print("found disk", disk.parent.name, disk.read_text().strip())
for device in find("bus/pci/devices/*"):
    if (device / "driver").exists():
        print("found driver", driver(device))
print(Path("/proc/meminfo").read_text().splitlines()[2])
for bound in re.findall(r"test_bind=(\\w+):(\\w+):(\\w+)", Path("/proc/cmdline").read_text()):
    os.system(f"modprobe {bound[0]}")
    Path(f"/sys/bus/pci/drivers/{bound[0]}/new_id").write_text(" ".join(bound[1:]))
    os.system(f"dmesg | grep {bound[0]}")
raise SystemExit(int(re.search(r"test_exit=(\\d+)", Path("/proc/cmdline").read_text())[1]))
'''


def build_quickly(images_dir: Path = IMAGES_DIR, *, force: bool = False) -> BuiltAgent:
    """The boot agent's real image, as guests boot it; built where it is missing, or by `force`."""
    return build_agent_image(
        images_dir, CACHE_DIR, compression_level=QUICK_LEVEL, firmware=False, force=force
    )


def build_with_inspector(directory: Path, *, firmware: bool = False) -> BuiltAgent:
    """An image like the real one, with `INSPECTOR` in place of the agent."""
    agent = directory / "lpmos" / "agent"
    agent.mkdir(parents=True)
    (agent.parent / "__init__.py").write_text("")
    (agent / "__init__.py").write_text("")
    (agent / "__main__.py").write_text(INSPECTOR)
    return build_agent_image(
        directory / "images",
        CACHE_DIR,
        compression_level=QUICK_LEVEL,
        firmware=firmware,
        lpmos_package=agent.parent,
    )
