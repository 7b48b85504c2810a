"""From a task and the image of a whole disk to the files that make it its machine's own."""

from typing import Any

import pytest

from lpmos.install import plan_install, required_bytes
from lpmos.install.network import RENDERERS
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.errors import ImageError, NoSuitableDisk
from lpmos.model.image import ImageManifest
from lpmos.model.installplan import InstallPlan
from lpmos.model.network import Ethernet, Network
from lpmos.model.setup import CloudInit, Setup
from lpmos.model.task import Intent
from tests.support.builders import make_inventory, make_manifest, make_task

REGION = "http://192.0.2.1:8081"
SEED = "/var/lib/cloud/seed/nocloud"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 me@desk"


def disk_image(**fields: Any) -> ImageManifest:
    whole = {"format": "raw.zst", "disk_bytes": 2 * GIB, "family": "linux", "os_type": "rocky"}
    return make_manifest(**{**whole, **fields})


def planned(manifest: ImageManifest, **fields: Any) -> InstallPlan:
    disk = plan_disk(
        make_inventory(), "auto", RootDiskHints(), required_bytes(manifest), manifest.whole_disk
    )
    task = make_task(**{"intent": Intent(intent_id="i-1"), "plan": disk, **fields})
    return plan_install(task, manifest, REGION)


def contents(plan: InstallPlan) -> dict[str, str]:
    return {file.path: file.content for file in plan.files}


def test_plan_of_a_disk_image_leaves_partitions_and_boot_loader_to_it() -> None:
    plan = planned(disk_image(), ssh_keys=(KEY,))
    assert plan.image is not None
    assert (plan.image.format, plan.image.disk_bytes) == ("raw.zst", 2 * GIB)
    assert (plan.disk.whole_image, plan.disk.partitions) == (True, ())
    assert (plan.boot_loader, plan.boot_entry) == ("image", "rocky")
    files = contents(plan)
    assert files["/root/.ssh/authorized_keys"] == f"{KEY}\n"
    assert not {"/etc/fstab", "/etc/default/grub.d/lpmos.cfg"} & files.keys()
    assert not any("cloud" in path for path in files)


@pytest.mark.parametrize("network", RENDERERS)
def test_network_is_written_for_the_images_own_system(network: str) -> None:
    paths = contents(planned(disk_image(network=network)))
    marks = {
        "systemd-networkd": "/etc/systemd/network/",
        "netplan": "/etc/netplan/",
        "networkmanager": "/etc/NetworkManager/",
        "ifupdown": "/etc/network/interfaces",
    }
    found = {
        name
        for name, mark in marks.items()
        if any(path.startswith(mark) and not path.endswith(".link") for path in paths)
    }
    assert found == {network}


@pytest.mark.parametrize(
    ("os_type", "version", "method"),
    [("centos", "7", "ignore"), ("rocky", "9", "disabled"), ("fedora", "42", "disabled")],
)
def test_networkmanager_of_release_7_gets_a_method_that_it_knows(
    os_type: str, version: str, method: str
) -> None:
    image = disk_image(network="networkmanager", family="rhel", os_type=os_type, os_version=version)
    network = Network(links=(Ethernet(name="lan0", addresses=("192.0.2.10/24",)),))
    files = contents(planned(image, network_config=network))
    connections = [text for path, text in files.items() if path.endswith(".nmconnection")]
    assert connections
    assert all(text.endswith(f"[ipv6]\nmethod={method}\n") for text in connections)


def test_image_with_cloud_init_gets_a_seed_that_leaves_the_network_alone() -> None:
    files = contents(planned(disk_image(cloud_init=True)))
    assert files[f"{SEED}/user-data"].startswith("#cloud-config\n")
    assert '"instance-id"' in files[f"{SEED}/meta-data"]
    assert "network: {config: disabled}" in files["/etc/cloud/cloud.cfg.d/90-lpmos.cfg"]
    setup = Setup(cloud_init=CloudInit(user_data="#cloud-config\n# mine\n"))
    files = contents(
        planned(disk_image(cloud_init=True, first_boot=True, family="rhel"), setup=setup)
    )
    assert files[f"{SEED}/user-data"] == "#cloud-config\n# mine\n"


def test_kernel_arguments_are_not_for_an_image_with_a_loader_of_its_own() -> None:
    with pytest.raises(ImageError, match="kernel_arguments: the image is of a whole disk"):
        planned(disk_image(), kernel_arguments="nomodeset")


def test_image_that_became_another_kind_since_the_report_is_refused() -> None:
    plan = plan_disk(make_inventory(), "auto", RootDiskHints(), 1)
    with pytest.raises(ImageError, match="planned for the other"):
        planned(disk_image(), plan=plan)


def test_disk_smaller_than_the_image_is_none_for_it() -> None:
    with pytest.raises(NoSuitableDisk):
        planned(disk_image(disk_bytes=9 * GIB))
