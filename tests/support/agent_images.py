"""Boot images for tests, built with the repository's own cache of packages."""

from pathlib import Path
from typing import Any

from lpmos.images.agent_image import (
    RELEASE_LEVEL,
    BuiltAgent,
    build_agent_image,
    recipe_digest,
)
from lpmos.images.agent_manifest import AgentManifest
from lpmos.images.catalog import Catalog
from lpmos.lab.stage import QUICK_LEVEL
from tests.support.lab_images import CACHE_DIR
from tests.support.region import put_agent

QUICK_DIR = CACHE_DIR / "quick-agent"
"""A catalog of its own: the lab's may be a region's, whose agent has firmware."""

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


def put_agent_of_this_version(
    directory: Path, *, with_firmware: bool, **changes: Any
) -> AgentManifest:
    """An agent in `directory / "images"` that counts as a release's build; its files are text."""
    catalog = Catalog(directory / "images")
    put_agent(
        catalog,
        directory,
        recipe=recipe_digest(RELEASE_LEVEL, with_firmware=with_firmware),
        compression=f"zstd -{RELEASE_LEVEL}",
        with_firmware=with_firmware,
        **changes,
    )
    manifest = catalog.agent_manifest()
    assert manifest is not None
    return manifest


def build_quickly(images_dir: Path = QUICK_DIR, *, force: bool = False) -> BuiltAgent:
    """The boot agent's real image, without firmware; built where it is missing, or by `force`."""
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
