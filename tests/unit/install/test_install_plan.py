"""From a task to the files that make its machine."""

import pytest

from lpmos.install import first_boot, plan_install
from lpmos.model.diskplan import RootDiskHints, plan_disk
from lpmos.model.durations import FIRST_BOOT
from lpmos.model.errors import Conflict, ImageError
from lpmos.model.network import Network
from lpmos.model.task import Intent, Task
from lpmos.model.trace import span_of
from tests.support.builders import make_inventory, make_manifest, make_task

PLAN = plan_disk(make_inventory(), "auto", RootDiskHints(), 1)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 me@desk"
REGION = "http://192.0.2.1:8081"


def approved(**fields: object) -> Task:
    return make_task(intent=Intent(intent_id="i-1"), plan=PLAN, **fields)


def contents(task: Task) -> dict[str, str]:
    return {file.path: file.content for file in plan_install(task, make_manifest(), REGION).files}


def test_plan_carries_the_approved_disk_intent_and_image() -> None:
    plan = plan_install(approved(), make_manifest(), REGION)
    assert plan.image is not None
    assert (plan.disk, plan.intent_id, plan.image.sha256) == (PLAN, "i-1", "ab" * 32)
    assert plan.image.url == "/boot/images/" + "ab" * 32


def test_plan_of_a_task_without_approval_is_refused() -> None:
    with pytest.raises(Conflict):
        plan_install(make_task(plan=PLAN), make_manifest(), REGION)


def test_plan_of_an_unknown_family_is_refused() -> None:
    with pytest.raises(ImageError, match="slackware"):
        plan_install(approved(), make_manifest(family="slackware"), REGION)


def test_debian_files_with_dhcp_match_the_booting_nic() -> None:
    network = contents(approved())["/etc/systemd/network/10-lpmos.network"]
    assert network == (
        "[Match]\nMACAddress=52:54:00:00:00:01\nType=ether\n\n"
        "[Network]\nDHCP=yes\n\n[DHCPv4]\nClientIdentifier=mac\n"
    )


def test_debian_files_with_static_network_name_address_gateway_and_dns() -> None:
    network = Network(address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.2",))
    file = contents(approved(network_config=network))["/etc/systemd/network/10-lpmos.network"]
    assert file.endswith("[Network]\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.2\n")


def test_debian_files_give_host_name_with_domain_to_hosts_alone() -> None:
    files = contents(approved(hostname="web-1.example.org"))
    assert files["/etc/hostname"] == "web-1\n"
    assert "127.0.1.1 web-1.example.org web-1\n" in files["/etc/hosts"]


def test_debian_kernel_line_ends_with_the_tasks_words_now_and_after_an_upgrade() -> None:
    plain = plan_install(approved(), make_manifest(), REGION)
    assert plain.kernel_arguments == "console=tty0 console=ttyS0,115200n8"
    task = approved(kernel_arguments="console=ttyS1,57600 hugepages=16")
    line = f"{plain.kernel_arguments} {task.kernel_arguments}"
    assert plan_install(task, make_manifest(), REGION).kernel_arguments == line
    defaults = contents(task)["/etc/default/grub.d/lpmos.cfg"]
    assert f'\nGRUB_CMDLINE_LINUX="{line}"\n' in defaults
    assert '\nGRUB_SERIAL_COMMAND="serial --unit=1 --speed=57600"\n' in defaults
    assert "--unit=0 --speed=115200" in contents(approved())["/etc/default/grub.d/lpmos.cfg"]


def test_debian_files_ssh_keys_are_roots_own_and_private() -> None:
    plan = plan_install(approved(ssh_keys=(KEY,)), make_manifest(), REGION)
    file = next(f for f in plan.files if f.path == "/root/.ssh/authorized_keys")
    assert (file.content, file.mode) == (KEY + "\n", 0o600)


def test_plan_of_an_image_that_can_tell_has_the_first_boot_beside_its_own_files() -> None:
    plain = plan_install(approved(), make_manifest(), REGION)
    telling = plan_install(approved(), make_manifest(first_boot=True), REGION)
    assert plain.first_boot is None
    assert telling.first_boot is not None
    assert telling.files == plain.files
    (script,) = (f.content for f in telling.first_boot.files if f.path == first_boot.SCRIPT)
    assert "host=192.0.2.1 port=8081" in script


def test_installed_systems_first_word_belongs_to_the_trace_of_its_task() -> None:
    task = make_task()
    files = {each.path: each.content for each in first_boot.files(task, "http://192.0.2.1:8080")}
    header = f"printf 'traceparent: {span_of(task, FIRST_BOOT)}\\r\\n' &&"
    assert header in files[first_boot.SCRIPT]
