"""HTTP boot and files, asked with curl: scripts per machine, ranges, tricks with paths, outages."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.model.bootplan import UnknownMachines
from tests.support.builders import MAC
from tests.support.region import RunningRegion, put_agent, running, until


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as started:
        yield started


async def curl(*arguments: str) -> bytes:
    """What curl prints."""
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--max-time", "20", *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, arguments
    return output


async def test_entry_script_is_the_same_for_all_and_names_the_region(region: RunningRegion) -> None:
    status, script = await region.text("/boot/boot.ipxe")
    assert status == 200
    assert script.startswith("#!ipxe\n")
    assert f"{region.url}/boot/ipxe?mac=${{netX/mac:hexhyp}}" in script


async def test_script_of_a_ready_task_loads_files_that_are_there(region: RunningRegion) -> None:
    task = await region.create_task()
    query = "mac=52-54-00-00-00-01&sn=&uuid=0&arch=x86_64&platform=efi"
    status, script = await region.text(f"/boot/ipxe?{query}")
    assert status == 200
    files = re.findall(rf"{re.escape(region.url)}(/boot/agent/\S+)", script)
    assert [Path(path).name for path in files] == ["vmlinuz", "initramfs"]
    for path in files:
        content = await curl("--fail", region.url + path)
        assert hashlib.sha256(content).hexdigest() in path
    assert (await region.task_in(task.task_id, "booting")).logs[-1].endswith("boot script sent")


async def test_script_by_serial_where_another_card_boots(region: RunningRegion) -> None:
    task = await region.create_task()
    _, script = await region.text("/boot/ipxe?mac=52:54:00:00:00:77&sn=SN-1")
    assert "/vmlinuz" in script
    await region.task_in(task.task_id, "booting")


async def test_script_of_an_unknown_machine_follows_the_policy(tmp_path: Path) -> None:
    for policy, expected in (
        (UnknownMachines.DISCOVER, "/vmlinuz"),
        (UnknownMachines.LOCAL_DISK, "exit 1"),
    ):
        async with running(tmp_path / policy.value, unknown=policy) as region:
            assert expected in (await region.text(f"/boot/ipxe?mac={MAC}"))[1]


async def test_script_for_arm64_without_an_agent_image_says_so_and_asks_again(
    region: RunningRegion,
) -> None:
    await region.create_task()
    status, text = await region.text("/boot/ipxe?mac=52-54-00-00-00-01&arch=arm64&platform=efi")
    assert status == 200
    assert "no agent image for arm64 here, only for x86_64" in text
    assert "kernel" not in text
    assert "chain --replace --autofree" in text


async def test_script_without_agent_image_says_what_to_do_and_asks_again(tmp_path: Path) -> None:
    async with running(tmp_path, images=False) as region:
        status, script = await region.text(f"/boot/ipxe?mac={MAC}")
        assert status == 200
        assert "lpmos image build-agent" in script
        assert f"chain --replace --autofree {region.url}/boot/boot.ipxe" in script
        put_agent(region.catalog, tmp_path)
        assert "/vmlinuz" in (await region.text(f"/boot/ipxe?mac={MAC}"))[1]


async def test_script_without_agent_image_lets_go_on_who_needs_no_agent(tmp_path: Path) -> None:
    async with running(tmp_path, images=False, unknown=UnknownMachines.LOCAL_DISK) as region:
        assert "exit 1" in (await region.text(f"/boot/ipxe?mac={MAC}"))[1]


async def test_script_while_the_store_is_away_is_from_memory_else_503(
    region: RunningRegion,
) -> None:
    await region.create_task()
    region.store.away = True
    await until(lambda: not region.fleet.connected, "the outage to be seen")
    assert "/vmlinuz" in (await region.text(f"/boot/ipxe?mac={MAC}"))[1]
    async with region.http.get(f"{region.url}/boot/ipxe?mac=52:54:00:00:00:99") as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "/boot/boot.ipxe" in await answer.text()
    assert (await region.text("/boot/boot.ipxe"))[0] == 200
    region.store.away = False
    await until(lambda: region.fleet.connected, "the store to be back")
    assert (await region.text(f"/boot/ipxe?mac={MAC}"))[0] == 200


@pytest.mark.parametrize("query", ["", "mac=", "mac=${net0/mac}", "mac=%0a%0Ashell&sn=%24%7Bx%7D"])
async def test_script_for_a_malformed_query_is_a_script_and_echoes_no_command(
    region: RunningRegion, query: str
) -> None:
    status, script = await region.text(f"/boot/ipxe?{query}")
    assert status == 422
    assert script.startswith("#!ipxe\n")
    assert "/boot/boot.ipxe" in script
    assert "${" not in script
    assert not [line for line in script.splitlines() if line.startswith("shell")]


async def test_image_by_ranges_is_the_whole_image(region: RunningRegion, tmp_path: Path) -> None:
    manifest = region.catalog.find("debian", "12")
    assert manifest is not None
    url = f"{region.url}/boot/images/{manifest.sha256}"
    spans = ("0-99999", "100000-", "-10")
    first, rest, tail = [await curl("--fail", "--range", span, url) for span in spans]
    assert hashlib.sha256(first + rest).hexdigest() == manifest.sha256
    assert rest.endswith(tail)
    part = tmp_path / "part"
    part.write_bytes(first)
    await curl("--fail", "--continue-at", "-", "--output", str(part), url)
    assert hashlib.sha256(part.read_bytes()).hexdigest() == manifest.sha256
    beyond = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert await curl("--range", "900000000-", *beyond, url) == b"416"
    assert b"Content-Length: 300000" in await curl("--head", url)


@pytest.mark.parametrize(
    "path",
    [
        "/boot/images/../../../etc/passwd",
        "/boot/images/..%2f..%2f..%2fetc%2fpasswd",
        "/boot/images/%2e%2e/%2e%2e/etc/passwd",
        "/boot/images//etc/passwd",
        "/boot/images/debian-12",
        "/boot/images/" + "0" * 64,
        "/boot/images/" + "0" * 63 + "%00",
        "/boot/agent/../manifest.json",
        "/boot/agent/x86_64/vmlinuz",
        "/boot/agent/..%2f..%2fstore.db/initramfs",
        "/boot/loader/..%2f..%2fstore.db",
        "/boot/loader/.snponly.efi.partial",
        "/boot/../../../../etc/passwd",
    ],
)
async def test_path_tricks_find_nothing(region: RunningRegion, path: str) -> None:
    answer = await curl("--path-as-is", "--write-out", "\n%{http_code}", region.url + path)
    body, _, status = answer.rpartition(b"\n")
    assert status == b"404"
    assert b"root:" not in body
