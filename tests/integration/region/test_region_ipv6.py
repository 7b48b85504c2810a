"""Machines without IPv4: dnsmasq's answers, the boot script, and from where an agent is let in."""

import json
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lpmos.core.clock import utc_now
from lpmos.images.catalog import Catalog
from lpmos.images.installers import InstallerFields, Installers
from lpmos.model.diskplan import GIB
from lpmos.model.errors import SettingsError
from lpmos.model.evidence import Evidence
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.region.slaac import own_address
from lpmos.region.sources import Sources
from lpmos.region.tls import TlsFiles, load
from lpmos.store import keys, records
from tests.support.agent_identity import nonce_in
from tests.support.builders import make_task
from tests.support.certificates import Authority
from tests.support.region import AGENT_ID, running, until
from tests.support.wire import ADDRESS, BRIDGE, CLIENT_INTERFACE, Wire

DHCP6_CLIENT = Path(__file__).parents[2] / "support" / "dhcp6_client.py"
ALONE = DhcpNetwork(interface=BRIDGE, range6=("fd92::1000", "fd92::1fff"), address6="fd92::1")
FETCH = ("curl", "-sSg", "--max-time", "20")


async def mac_and_own_address(network: Wire) -> tuple[str, str]:
    """The client's, once it has made its address of what the region announces."""
    (link,) = json.loads(await network.run("ip", "-json", "link", "show", CLIENT_INTERFACE))
    own = own_address(link["address"], "fd92::1")
    show = ("ip", "-json", "-6", "address", "show", "dev", CLIENT_INTERFACE, "scope", "global")

    async def there() -> bool:
        links = json.loads(await network.run(*show))
        found = [each for link in links for each in link.get("addr_info", ())]
        return own in [each.get("local") for each in found if not each.get("tentative")]

    await until(there, "the address by router advertisement")
    return link["address"], own


async def test_machine_without_ipv4_is_let_in_from_the_address_that_it_makes_of_its_mac(
    network: Wire, tmp_path: Path
) -> None:
    dhcp = DhcpSettings(networks=(ALONE,))
    async with running(tmp_path, dhcp=dhcp, address=ADDRESS) as region:
        _, health = await region.get("/health")
        assert health["services"] == {"dhcp": "ok", "tftp": "ok", "http": "ok"}
        mac, own = await mac_and_own_address(network)
        await region.create_task(mac=mac)
        client = (sys.executable, str(DHCP6_CLIENT), CLIENT_INTERFACE, "7", "iPXE")
        offered = json.loads(await network.run(*client))
        place = (f"{offered['address']}/64", "dev", CLIENT_INTERFACE, "nodad")
        await network.run("ip", "address", "add", *place)
        by_dhcp = (*FETCH, "--interface", offered["address"])

        base = offered["url"].removesuffix("/boot/boot.ipxe")
        assert base == f"http://[fd92::1]:{region.region.port}"
        script = (await network.run(*by_dhcp, f"{base}/boot/ipxe?mac={mac}")).decode()
        assert f"kernel {base}/boot/agent/" in script
        assert f"initrd --name initrd {base}/boot/agent/" in script
        assert f" lpmos_client={base} " in script
        said = {"mac_address": mac, "agent_id": AGENT_ID, "nonce": nonce_in(script)}
        call = ("-o", "/dev/null", "-w", "%{http_code}", "--json", json.dumps(said))
        exchange = f"{base}/api/v1/agent/identity"
        assert await network.run(*by_dhcp, *call, exchange) == b"401"
        assert await network.run(*FETCH, "--interface", own, *call, exchange) == b"200"

        async def seen() -> bool:
            kv = await region.store.get(keys.evidence("dc1", "SN-1"))
            sign = records.decode(kv, Evidence).agent if kv else None
            return sign is not None and sign.detail == "identity: HTTP 200"

        await until(seen, "the agent's call from its own address as its machine's sign")

        other = f"{base}/boot/ipxe?mac=52:54:00:00:00:99"
        refused = (await network.run(*FETCH, "--interface", own, other)).decode()
        assert "is another machine" in refused and "kernel" not in refused


async def test_agent_is_answered_by_tls_over_ipv6(network: Wire, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("region", ADDRESS, "fd92::1")
    tls = TlsFiles(pair.cert, pair.key, authority.ca, 0)
    dhcp = DhcpSettings(networks=(ALONE,))
    async with running(tmp_path, dhcp=dhcp, address=ADDRESS, agent_tls=tls) as region:
        mac, own = await mac_and_own_address(network)
        await region.create_task(mac=mac)
        base = f"http://[fd92::1]:{region.region.port}"
        script = (await network.run(*FETCH, f"{base}/boot/ipxe?mac={mac}")).decode()
        secured = f"https://[fd92::1]:{region.region.tls_port}"
        assert f" lpmos_client={secured} " in script and f" lpmos_boot={base} " in script
        said = {"mac_address": mac, "agent_id": AGENT_ID, "nonce": nonce_in(script)}
        call = ("--cacert", str(authority.ca), "--json", json.dumps(said), "--interface", own)
        answer = await network.run(*FETCH, *call, f"{secured}/api/v1/agent/identity")
        assert "identity" in json.loads(answer)


def test_certificate_that_is_not_for_the_address_of_ipv6_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("region")
    files = TlsFiles(pair.cert, pair.key, authority.ca, 0)
    with pytest.raises(SettingsError, match="subjectAltName=IP:fd92::1"):
        load(files, "127.0.0.1", utc_now(), ["fd92::1"], needed=["fd92::1"])


def test_certificate_for_ipv4_alone_leaves_tls_off_where_machines_have_both(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("region", "127.0.0.1", "fd92::1")
    files = TlsFiles(pair.cert, pair.key, authority.ca, 0)
    with capture_logs() as logs:
        served = load(files, "127.0.0.1", utc_now(), ["fd92::1", "fd93::1"], needed=["fd92::1"])
    assert served.also == ("fd92::1",)
    (said,) = [each for each in logs if each["log_level"] == "error"]
    assert said["address"] == "fd93::1" and "subjectAltName=IP:fd93::1" in said["error"]


def test_installer_is_refused_to_a_machine_that_was_booted_over_ipv6(tmp_path: Path) -> None:
    for name in ("linux", "initrd.gz"):
        (tmp_path / name).write_bytes(b"x" * 5000)
    system = {"os_type": "debian", "os_version": "13"}
    fields = InstallerFields(
        name="debian-13",
        family="debian",
        repository="http://127.0.0.1:9/debian",
        required_bytes=GIB,
        **system,
    )
    installers = Installers(tmp_path / "images")
    installers.add(fields, tmp_path / "linux", tmp_path / "initrd.gz")
    sources = Sources(Catalog(tmp_path / "images"), installers)
    task = make_task(**system)
    assert sources.loader_refusal(task, "192.0.2.7") is None
    refusal = sources.loader_refusal(task, "fd92::5054:ff:fe78:301")
    assert refusal is not None and refusal.code == "installer-needs-ipv4"
