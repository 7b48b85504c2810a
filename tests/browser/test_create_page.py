"""The form of a new task: checked as it is typed, nothing lost, and one task however often sent."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, Route, expect

from lpmos.control.config import ControlConfig
from lpmos.model.access import Role
from lpmos.model.diskplan import GIB, PartitionWish, RootDiskHints, StorageLayout
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.model.network import Ethernet, Network
from lpmos.store import keys, records
from tests.browser.conftest import PASSWORD, inaccessible, log_in, make_user
from tests.support.builders import MAC, NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane, open_store, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREATE = "/tasks/create"
PLANTED = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5AAAAAAAAAAAAAAAAAAAA me@desk"
"""A public key, as such a file has it."""


async def _open(page: Page, control_plane: RunningControlPlane, query: str = "") -> None:
    await page.goto(f"{control_plane.url}{CREATE}{query}")
    await expect(page.get_by_label("System", exact=True)).to_have_value("debian 12")


def _field(page: Page, label: str) -> Locator:
    return page.locator(".field").filter(has=page.get_by_label(label, exact=True))


def _submit(page: Page) -> Locator:
    return page.get_by_role("button", name="Create task")


async def test_form_makes_the_task_that_was_typed(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("MAC address", exact=True).fill("5254.0012.34AB")
    await expect(_field(dashboard, "MAC address")).to_contain_text("Stored as 52:54:00:12:34:ab")
    await dashboard.get_by_label("Serial number", exact=True).fill("SN-9")
    await dashboard.get_by_label("Host name", exact=True).fill("web-9")
    await dashboard.get_by_label("Tenant", exact=True).fill("team-a")
    await dashboard.get_by_text("Choose the root disk").click()
    await dashboard.get_by_label("Disk serial number", exact=True).fill("S4EMNX0R")
    await dashboard.get_by_label("At least", exact=True).fill("500 GB")
    await expect(_field(dashboard, "At least")).to_contain_text("500,000,000,000 bytes")
    await dashboard.get_by_label("Kind", exact=True).select_option("ssd")
    await dashboard.get_by_label("Addresses", exact=True).select_option("static")
    await dashboard.get_by_label("Address", exact=True).fill("192.0.2.10/24")
    await dashboard.get_by_label("Gateway", exact=True).fill("192.0.2.1")
    await dashboard.get_by_label("Name servers", exact=True).fill("192.0.2.53 192.0.2.54")
    await dashboard.get_by_label("SSH keys", exact=True).fill(f"{KEY}\n")
    await dashboard.get_by_role("button", name="Add a tag").click()
    await dashboard.get_by_label("Key of tag 1", exact=True).fill("rack")
    await dashboard.get_by_label("Value of tag 1", exact=True).fill("r12")
    await dashboard.get_by_label("Notes", exact=True).fill("for Carol")
    summary = dashboard.get_by_role("complementary", name="What will happen")
    for text in ("52:54:00:12:34:ab", "S4EMNX0R", "debian 12", "192.0.2.10/24", "1 SSH key"):
        await expect(summary).to_contain_text(text)
    await _submit(dashboard).click()
    await dashboard.wait_for_url(lambda url: url.rpartition("/")[2] not in {"create", ""})
    (task,) = control_plane.fleet.current_tasks()
    assert dashboard.url.endswith(task.task_id)
    assert (task.mac, task.sn, task.hostname) == ("52:54:00:12:34:ab", "SN-9", "web-9")
    assert (task.tenant, task.tags) == ("team-a", {"rack": "r12", "notes": "for Carol"})
    assert (task.root_disk.serial, task.root_disk.min_size_bytes) == ("S4EMNX0R", 500 * 10**9)
    assert task.root_disk.rotational is False
    assert task.network_config == Network(
        address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53", "192.0.2.54")
    )
    assert task.ssh_keys == (KEY,)


async def test_what_is_wrong_is_said_as_it_is_typed(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    mac = dashboard.get_by_label("MAC address", exact=True)
    await mac.fill("52:54")
    await expect(_field(dashboard, "MAC address").locator("em")).to_have_count(0)
    await mac.fill("52:54:xx")
    await expect(_field(dashboard, "MAC address")).to_contain_text("not a MAC address")
    await mac.fill("01:00:5e:00:00:01")
    await expect(_field(dashboard, "MAC address")).to_contain_text("multicast")
    await expect(mac).to_have_attribute("aria-invalid", "true")
    await dashboard.get_by_label("Addresses", exact=True).select_option("static")
    await dashboard.get_by_label("Address", exact=True).fill("192.0.2.10")
    await dashboard.get_by_label("Gateway", exact=True).fill("192.0.9.1")
    await expect(_field(dashboard, "Address")).to_contain_text("prefix length is missing")
    await dashboard.get_by_label("Address", exact=True).fill("192.0.2.10/24")
    await dashboard.get_by_label("Name servers", exact=True).fill("dns")
    await expect(_field(dashboard, "Gateway")).to_contain_text("not in the address's network")
    await dashboard.get_by_label("SSH keys", exact=True).fill("not a key")
    await expect(_field(dashboard, "Name servers")).to_contain_text("address")
    await dashboard.get_by_label("Notes", exact=True).click()
    await expect(_field(dashboard, "SSH keys")).to_contain_text("Line 1 is no OpenSSH public key")


async def test_api_names_every_wrong_field_at_once_and_all_stays(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("MAC address", exact=True).fill("52:54")
    await dashboard.get_by_label("Serial number", exact=True).fill("a/b")
    await dashboard.get_by_label("Host name", exact=True).fill("-web")
    await dashboard.get_by_label("Tenant", exact=True).fill("Team A")
    await dashboard.get_by_role("button", name="Add a tag").click()
    await dashboard.get_by_label("Key of tag 1", exact=True).fill("a tag")
    await dashboard.get_by_label("Value of tag 1", exact=True).fill("x")
    await _submit(dashboard).click()
    for label, said in (
        ("MAC address", "not a MAC address"),
        ("Serial number", "is not a serial number"),
        ("Host name", "is not a host name"),
        ("Tenant", "is not a tenant's name"),
    ):
        await expect(_field(dashboard, label)).to_contain_text(said)
    await expect(dashboard.get_by_role("group", name="Tags").get_by_role("alert")).to_be_visible()
    await expect(dashboard.get_by_label("MAC address", exact=True)).to_be_focused()
    await expect(dashboard.get_by_label("Host name", exact=True)).to_have_value("-web")
    await dashboard.get_by_label("Host name", exact=True).fill("web")
    await expect(_field(dashboard, "Host name").locator("em")).to_have_count(0)
    assert list(control_plane.fleet.current_tasks()) == []


async def test_address_fills_the_form_in(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.offer_debian("dc7")
    await _open(dashboard, control_plane, f"?idc=dc7&mac={MAC}&sn=SN-7")
    await expect(dashboard.get_by_label("Region", exact=True)).to_have_value("dc7")
    await expect(dashboard.get_by_label("MAC address", exact=True)).to_have_value(MAC)
    await expect(dashboard.get_by_label("Serial number", exact=True)).to_have_value("SN-7")
    await expect(dashboard.locator("form")).to_contain_text("offline")


async def test_draft_comes_back_after_a_reload_without_a_private_key(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("MAC address", exact=True).fill("52:54:00:00:00:77")
    await dashboard.get_by_label("Host name", exact=True).fill("kept")
    secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA"
    await dashboard.get_by_label("SSH keys", exact=True).fill(secret)
    await _submit(dashboard).click()
    await expect(_field(dashboard, "SSH keys")).to_contain_text("private key")
    await dashboard.reload()
    await expect(dashboard.get_by_label("Host name", exact=True)).to_have_value("kept")
    await expect(dashboard.get_by_label("SSH keys", exact=True)).to_have_value("")
    assert "PRIVATE" not in await dashboard.evaluate("JSON.stringify({...sessionStorage})")
    assert list(control_plane.fleet.current_tasks()) == []
    await dashboard.get_by_role("button", name="Begin anew").click()
    await expect(dashboard.get_by_label("Host name", exact=True)).to_have_value("")


async def test_private_key_file_is_not_taken_and_a_public_one_is(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    await _open(dashboard, control_plane)
    private, public = tmp_path / "id_ed25519", tmp_path / "id_ed25519.pub"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    public.write_text(KEY + "\n")
    files = dashboard.get_by_label("Add from a file")
    await files.set_input_files(private)
    await expect(_field(dashboard, "SSH keys")).to_contain_text("id_ed25519 is a private key")
    await files.set_input_files(public)
    await expect(dashboard.get_by_label("SSH keys", exact=True)).to_have_value(KEY)


async def test_lost_answer_makes_one_task(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("MAC address", exact=True).fill("52:54:00:00:00:78")
    await dashboard.route("**/api/v1/tasks", _lose_first_answer())
    await _submit(dashboard).click()
    await expect(dashboard.get_by_text("does not answer")).to_be_visible()
    await dashboard.wait_for_url(lambda url: not url.endswith("create"))
    (task,) = control_plane.fleet.current_tasks()
    assert dashboard.url.endswith(task.task_id)


def _lose_first_answer() -> Callable[[Route], Awaitable[None]]:
    """The first POST reaches the server, and its answer is lost on the way."""
    lost: list[str] = []

    async def handle(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            lost.append(route.request.url)
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    return handle


async def test_session_that_ends_in_the_middle_of_a_submit_goes_on_after_sign_in(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "olga", Role.OPERATOR)
    await _sign_in(page, control_plane, "olga")
    await _open(page, control_plane)
    await page.get_by_label("MAC address", exact=True).fill("52:54:00:00:00:79")
    await page.context.clear_cookies()
    # Not a click: something that the page asks by itself may have opened the dialog before.
    await _submit(page).dispatch_event("click")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("session has ended")
    await dialog.get_by_label("Password", exact=True).fill(PASSWORD)
    await dialog.get_by_role("button", name="Log in").click()
    await page.wait_for_url(lambda url: not url.endswith("create"))
    (task,) = control_plane.fleet.current_tasks()
    assert task.created_by == "olga"


async def test_server_that_restarts_while_typing_loses_nothing(page: Page, tmp_path: Path) -> None:
    config = ControlConfig(images_dir=tmp_path / "images")
    async with open_store(tmp_path) as store:
        async with running(store, config=config) as first:
            await first.offer_debian()
            await log_in(page, first)
            await _open(page, first)
            await page.get_by_label("MAC address", exact=True).fill("52:54:00:00:00:80")
            port = first.port
        await expect(page.locator("#connection")).to_contain_text("reconnecting")
        await page.get_by_label("Host name", exact=True).fill("typed-meanwhile")
        await _submit(page).click()
        await expect(page.get_by_text("does not answer").first).to_be_visible()
        async with running(store, config=config, port=port) as second:
            await page.wait_for_url(lambda url: not url.endswith("create"))
            (task,) = second.fleet.current_tasks()
            assert task.hostname == "typed-meanwhile"


async def test_task_under_way_is_shown_before_the_second_is_refused(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(hostname="first", status=Status.BOOTING))
    await _open(dashboard, control_plane, f"?mac={MAC}")
    await expect(dashboard.get_by_text("has a task under way")).to_contain_text("first")
    await dashboard.get_by_label("Serial number", exact=True).fill("SN-1")
    await _submit(dashboard).click()
    await expect(dashboard.get_by_role("alert")).to_contain_text("task")
    await expect(dashboard.get_by_label("MAC address", exact=True)).to_have_value(MAC)


async def test_report_becomes_a_task_with_one_of_its_disks(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    report = UnmatchedReport(
        mac_address=MAC,
        region="dc1",
        sn="SN-1",
        hardware=make_inventory(
            disks=(Disk(device="/dev/sda", size_bytes=10**12, kind="ssd", serial="BLUE"),)
        ),
        received_at=NOW,
        error="no task",
    )
    key = keys.unmatched("dc1", NOW, MAC)
    revision = await control_plane.store.put(key, records.encode(report))
    await control_plane.fleet.wait_for_revision(revision)
    await dashboard.goto(f"{control_plane.url}/unmatched")
    await dashboard.get_by_role("link", name="New task for SN-1").click()
    await expect(dashboard.get_by_label("MAC address", exact=True)).to_be_disabled()
    await dashboard.get_by_role("button", name="/dev/sda").click()
    await expect(dashboard.get_by_label("Disk serial number", exact=True)).to_have_value("BLUE")
    await dashboard.get_by_label("Host name", exact=True).fill("from-report")
    await _submit(dashboard).click()
    await dashboard.wait_for_url(lambda url: "create" not in url)
    (task,) = control_plane.fleet.current_tasks()
    assert (task.sn, task.hostname, task.root_disk.serial) == ("SN-1", "from-report", "BLUE")
    assert control_plane.fleet.count_unmatched("dc1") == 0


async def test_disks_of_an_own_choice_are_refused_at_their_field_and_then_sent(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    disks = tuple(
        Disk(device=f"/dev/sd{name}", size_bytes=10**12, kind="ssd", serial=f"DISK-{name}")
        for name in "abc"
    )
    machine = Machine(
        idc="dc1",
        sn="SN-1",
        macs=(MAC,),
        inventory=make_inventory(disks=disks),
        first_seen_at=NOW,
        updated_at=NOW,
    )
    revision = await control_plane.store.put(keys.meta("dc1", "SN-1"), records.encode(machine))
    await control_plane.fleet.wait_for_revision(revision)
    await _open(dashboard, control_plane, f"?mac={MAC}&sn=SN-1")
    await dashboard.get_by_label("Disk layout", exact=True).select_option("own")
    await dashboard.get_by_label("RAID", exact=True).select_option("raid1")
    await dashboard.get_by_role("button", name="/dev/sdc").click()
    await dashboard.get_by_role("button", name="/dev/sda").click()
    await expect(dashboard.get_by_text("over the 2 disks")).to_be_visible()
    await dashboard.get_by_label("File system", exact=True).select_option("xfs")
    await dashboard.get_by_label("Swap", exact=True).fill("8 GiB")
    await dashboard.get_by_label("Encrypted").check()
    await dashboard.get_by_label("Passphrase", exact=True).fill("correct horse battery")
    await dashboard.get_by_role("button", name="Add a partition").click()
    await dashboard.get_by_label("Mount point of partition 1").fill("/usr")
    await dashboard.get_by_label("Size of partition 1").fill("40 GiB")
    await expect(dashboard.get_by_text("one passphrase opens all")).to_have_count(0)
    await _submit(dashboard).click()
    await expect(dashboard.get_by_text("/usr cannot be a file system")).to_be_visible()
    await expect(dashboard.get_by_text("one passphrase opens all")).to_be_visible()
    await dashboard.get_by_label("Volumes in a group").check()
    await dashboard.get_by_label("Mount point of partition 1").fill("/var")
    kept = await dashboard.evaluate("JSON.stringify({...sessionStorage})")
    assert "/var" in kept and "correct horse" not in kept
    await _submit(dashboard).click()
    await dashboard.wait_for_url(lambda url: "create" not in url)
    (task,) = control_plane.fleet.current_tasks()
    assert task.disk_layout == StorageLayout(
        raid="raid1",
        members=(RootDiskHints(serial="DISK-c"), RootDiskHints(serial="DISK-a")),
        lvm=True,
        encrypt=True,
        filesystem="xfs",
        swap_bytes=8 * GIB,
        partitions=(PartitionWish(mount="/var", size_bytes=40 * GIB),),
    )
    await expect(dashboard.get_by_text("RAID 1, disks DISK-c, DISK-a, LVM")).to_be_visible()


async def test_network_of_links_is_refused_at_its_field_and_then_sent(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("MAC address", exact=True).fill("52:54:00:12:34:ab")
    await dashboard.get_by_label("Addresses", exact=True).select_option("links")
    network = dashboard.get_by_label("Network as JSON", exact=True)
    await network.fill('{"links": [')
    await network.blur()
    await expect(_field(dashboard, "Network as JSON")).to_contain_text("no JSON")
    await network.fill('{"links": [{"kind": "ethernet", "name": "lan0"}]}')
    await _submit(dashboard).click()
    await expect(_field(dashboard, "Network as JSON")).to_contain_text("none gets an address")
    await network.fill('{"links": [{"kind": "ethernet", "name": "lan0", "dhcp": true}]}')
    await _submit(dashboard).click()
    await dashboard.wait_for_url(lambda url: "create" not in url)
    (task,) = control_plane.fleet.current_tasks()
    assert task.network_config == Network(links=(Ethernet(name="lan0", dhcp=True),))
    await expect(dashboard.get_by_text("lan0: ethernet the card that booted, DHCP")).to_be_visible()


async def test_planted_markup_is_text_in_every_field(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_text("Choose the root disk").click()
    await dashboard.get_by_label("Addresses", exact=True).select_option("static")
    await dashboard.get_by_role("button", name="Add a tag").click()
    for place in await dashboard.locator("main form input:not([type])").all():
        await place.fill(PLANTED)
    await dashboard.get_by_label("SSH keys", exact=True).fill(PLANTED)
    await expect(dashboard.get_by_role("complementary")).to_contain_text("<img")
    await _submit(dashboard).click()
    await expect(_field(dashboard, "Host name")).to_contain_text("is not a host name")
    assert await dashboard.evaluate("window.planted") is None
    assert await dashboard.locator("main script, main img").count() == 0


async def test_template_is_previewed_for_a_task_like_it(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(hostname="sample"))
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    place = f"{control_plane.url}/api/v1/templates/debian.motd"
    body = {"content": "welcome to {{ task.hostname }}"}
    answer = await dashboard.request.put(place, headers=headers, data=body)
    assert answer.ok
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("Preview a template", exact=True).select_option("debian.motd")
    await expect(dashboard.locator("pre")).to_have_text("welcome to sample")


async def test_phone_has_no_sideways_scrolling_and_the_keyboard_sends(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.set_viewport_size({"width": 390, "height": 800})
    await _open(dashboard, control_plane)
    await dashboard.get_by_text("Choose the root disk").click()
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await dashboard.evaluate(wide)
    assert await inaccessible(dashboard) == []
    await dashboard.get_by_label("MAC address", exact=True).fill("52:54:00:00:00:81")
    await dashboard.keyboard.press("Enter")
    await dashboard.wait_for_url(lambda url: not url.endswith("create"))


async def test_viewer_is_told_what_is_missing(
    page: Page, control_plane: RunningControlPlane
) -> None:
    token = await control_plane.as_user([Role.VIEWER])
    await log_in(page, control_plane, token, CREATE)
    await expect(page.get_by_text("do not include")).to_contain_text("task:create")
    await expect(page.get_by_label("MAC address", exact=True)).to_have_count(0)


async def _sign_in(page: Page, control_plane: RunningControlPlane, name: str) -> None:
    await page.goto(control_plane.url)
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in", exact=True).click()
    await expect(page.locator("#connection")).to_have_text("live")


async def test_setup_is_typed_sent_and_shown_without_its_secrets(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    """What is wrong stands at its field; what was planted is text; secrets are not kept."""
    hash_ = "$6$saltsalt$" + "a" * 43
    await _open(dashboard, control_plane)
    await dashboard.get_by_label("MAC address", exact=True).fill("52:54:00:12:34:ac")
    await dashboard.get_by_label("SSH keys", exact=True).fill(KEY)
    await dashboard.get_by_text("Users, packages, commands, cloud-init").click()
    await dashboard.get_by_role("button", name="Add a user").click()
    await dashboard.get_by_label("Name", exact=True).fill("Alice B")
    await dashboard.get_by_label("Password hash", exact=True).fill(hash_)
    await dashboard.get_by_label("Packages", exact=True).fill("nginx -y")
    await dashboard.get_by_label("Commands", exact=True).fill(f"echo '{PLANTED}'")
    await dashboard.get_by_role("button", name="Add a secret").click()
    await dashboard.get_by_label("Name of secret 1", exact=True).fill("TOKEN")
    await dashboard.get_by_label("Value of secret 1", exact=True).fill("not kept")
    await dashboard.get_by_label("Puppet server", exact=True).fill("puppet.example.net")
    summary = dashboard.get_by_role("complementary", name="What will happen")
    await expect(summary).to_contain_text("At its first boot it runs Puppet")
    await _submit(dashboard).click()
    await expect(dashboard.get_by_role("group", name="Users")).to_contain_text("0.name")
    await expect(_field(dashboard, "Packages")).to_contain_text("1 ")
    assert await inaccessible(dashboard) == []
    kept = await dashboard.evaluate("JSON.stringify(sessionStorage)")
    assert "nginx" in kept and hash_ not in kept and "not kept" not in kept
    await dashboard.get_by_label("Name", exact=True).fill("alice")
    await dashboard.get_by_label("Packages", exact=True).fill("nginx")
    await _submit(dashboard).click()
    await dashboard.wait_for_url(lambda url: url.rpartition("/")[2] not in {"create", ""})
    task = next(t for t in control_plane.fleet.current_tasks() if t.mac.endswith("ac"))
    assert task.setup.packages == ("nginx",) and task.setup.secret_names == ("TOKEN",)
    (user,) = task.setup.users
    assert (user.name, user.sudo, user.has_password) == ("alice", "nopasswd", True)
    main = dashboard.get_by_role("main")
    for text in ("alice", "a password", "nginx", PLANTED, "TOKEN", "puppet.example.net"):
        await expect(main).to_contain_text(text)
    assert hash_ not in await dashboard.content()
    assert "not kept" not in await dashboard.content()
    assert await dashboard.evaluate("window.planted") is None
