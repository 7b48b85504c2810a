"""A region's client on this machine: what `lpmos doctor` looks at there.

Where it stands by nothing but that is said of DHCP: the other client serves it.
"""

import http.client
import json
import shutil
import socket
from collections.abc import Iterator
from os import environ
from pathlib import Path

from lpmos.app.settings import Settings
from lpmos.cli.client import Document
from lpmos.cli.display import utc_now
from lpmos.cli.findings import Finding, judge_certificate, judge_fetching, ok, warning, wrong
from lpmos.cli.words import ago, plain
from lpmos.model.errors import ImageError, SettingsError

CONNECT_TIMEOUT_S = 2.0
DHCP, TFTP, PROXY, DHCP6 = (67, "DHCP"), (69, "TFTP"), (4011, "DHCP by proxy"), (547, "DHCPv6")
AGENT_TLS = "agent TLS"


def look_at_region(settings: Settings) -> Iterator[Finding]:
    """The client's ports, what it is now, its certificate for agents, the agent image, DHCP."""
    state = None
    if settings.region_addr:
        yield answers(settings.region_addr, settings.api_port, "the region")
        health = _health(settings.region_addr, settings.api_port)
        state = health.get("standing")
        yield from judge_fetching("images", health.get("fetching"))
    yield from _agent_tls(settings)
    yield from _agent_image(settings)
    yield from _images(settings)
    if state is not None:
        yield _told(state)
    if settings.dhcp_mode != "off":
        yield from _dhcp(settings, serves=state is None or state["standing"] == "active")


def answers(host: str, port: object, what: str) -> Finding:
    """Whether somebody answers; 0.0.0.0 is asked at 127.0.0.1."""
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    try:
        socket.create_connection((asked, int(str(port))), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        text = f"{what} does not answer at {asked}:{port} ({error})"
        return wrong("ports", text, "look at its log")
    return ok("ports", f"{what} answers at {asked}:{port}")


def _health(address: str, port: int) -> Document:
    """What a client says of itself; empty where it says nothing."""
    connection = http.client.HTTPConnection(address, port, timeout=CONNECT_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        said = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}  # that it does not answer is told of by its port
    finally:
        connection.close()
    return said if isinstance(said, dict) else {}


def _told(state: Document) -> Finding:
    since = ago(state["since"], utc_now())
    if state["standing"] != "active":
        return ok("standing", f"stands by since {since}: serves no machine")
    told = f"active since {since}, by {plain(state['by'] or 'nothing')}"
    if state["by"] == "lease":
        return ok("standing", told)
    return warning("standing", f"{told}: the store is away", "see docs/how-to/standby.md")


def _agent_tls(settings: Settings) -> Iterator[Finding]:
    """Whether agents would accept the files as they are now; the client read them at its start."""
    from lpmos.region.tls import ends_at

    address = settings.service_address or settings.region_addr
    try:
        from lpmos.app.region import agent_tls_files  # a region's parts, for who has TLS

        files = agent_tls_files(settings)
        if files is None or not address:
            return
        ends = ends_at(files, address)
    except SettingsError as error:
        yield wrong(AGENT_TLS, str(error), "see docs/how-to/agent-tls.md")
        return
    then = "then start this client of the region again"
    yield judge_certificate(AGENT_TLS, ends, utc_now(), then)
    yield answers(settings.region_addr or address, files.port, "the agent API by TLS")


def _agent_image(settings: Settings) -> Iterator[Finding]:
    """Whether the agent that machines boot is this version's, which knows what the region asks."""
    from lpmos.app.images import images_dir  # the catalog, for a look at its image
    from lpmos.images.agent_image import is_of_this_version
    from lpmos.images.catalog import Catalog

    directory = images_dir(settings)
    manifest = Catalog(directory).agent_manifest()
    build = f"lpmos image build-agent --images-dir {directory}"
    if manifest is None:
        yield warning("agent image", f"there is none in {directory}", build)
    elif is_of_this_version(manifest) and manifest.modules_unserved:
        told = f"{manifest.version} lacks the firmware of {', '.join(manifest.modules_unserved)}"
        mirror = ", from a mirror that has non-free-firmware (LPMOS_MIRROR)"
        yield warning("agent image", told, f"if servers here need it: {build}{mirror}")
    elif is_of_this_version(manifest):
        bare = "" if manifest.with_firmware else ", without firmware"
        yield ok("agent image", f"{manifest.version}, as this version builds it{bare}")
    else:
        needed = settings.agent_identity == "required"
        until = '; until then agent_identity = "optional" takes older ones' if needed else ""
        told = f"{manifest.version} is not what this version builds"
        yield warning("agent image", told, build + until)
    if settings.agent_identity == "optional":
        told = "agents without an identity are taken, too"
        yield warning("agent identity", told, "build the agent image, then take agent_identity out")


def _images(settings: Settings) -> Iterator[Finding]:
    """Whether every image is whole, and signed where keys are trusted; who is left out, and why."""
    from lpmos.app.images import catalog_of

    try:
        catalog = catalog_of(settings)
        left_out = catalog.damaged()
    except (SettingsError, ImageError) as error:
        yield wrong("images", str(error), "see docs/how-to/images.md")
        return
    for name in sorted(left_out):
        yield warning("images", f"left out: {left_out[name]}", "see docs/how-to/images.md")
    served = len(catalog.manifests())
    trust = ", each signed by a trusted key" if settings.image_trusted_keys else ""
    if served:
        yield ok("images", f"{served} served{trust}")


def _dhcp(settings: Settings, *, serves: bool) -> Iterator[Finding]:
    program = shutil.which("dnsmasq", path=f"{environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        yield wrong(
            "dnsmasq", "is not installed", "requirements/install region, or --dhcp-mode off"
        )
    else:
        yield ok("dnsmasq", program)
    if not serves:
        return
    bound = _bound_udp_ports()
    for port, service in _services(settings):
        if port in bound:
            yield ok("ports", f"{service} is served (UDP {port})")
        else:
            yield warning("ports", f"nobody serves {service} (UDP {port})", "start lpmos region")


def _services(settings: Settings) -> Iterator[tuple[int, str]]:
    """The ports that the settings have dnsmasq serve, and what for."""
    networks = settings.dhcp_network
    yield DHCP
    yield TFTP
    if settings.dhcp_mode == "proxy" or any(each.mode == "proxy" for each in networks):
        yield PROXY
    if any(each.range6 for each in networks):
        yield DHCP6


def _bound_udp_ports() -> set[int]:
    """The local ports of UDP sockets, by proc(5): `/proc/net/udp`, the second field in hex."""
    ports: set[int] = set()
    for table in (Path("/proc/net/udp"), Path("/proc/net/udp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        ports |= {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    return ports
