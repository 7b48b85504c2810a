"""This machine as a server of LPMOS: what `lpmos doctor` looks at on the spot, by its settings."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lpmos.app.settings import CONTROL, REGION, Settings
from lpmos.cli.display import utc_now
from lpmos.cli.findings import (
    Finding,
    judge_certificate,
    judge_modes,
    judge_space,
    ok,
    warning,
    wrong,
)
from lpmos.cli.running_parts import running_parts

CONNECT_TIMEOUT_S = 2.0
DHCP_PORT, TFTP_PORT = 67, 69
SECRET_FILES = (
    "auth_key_file", "tls_key", "etcd_key", "etcd_password_file", "secrets_key_file",
    "vault_token_file",
)  # fmt: skip
FIRST_PASSWORD = "admin.password"  # noqa: S105 - the name of a file
STATE_SECRETS = ("auth.key", "secrets.key", FIRST_PASSWORD)
CERTIFICATES = ("tls_cert", "etcd_cert", "etcd_ca")


def look_at_host() -> Iterator[Finding]:
    """The files, programs and ports of each part that runs here."""
    none = True
    for running in running_parts():
        none = False
        name = f"lpmos {running.part}"
        if running.settings is None:
            do = "see docs/reference/settings.md"
            yield warning(name, f"process {running.pid}: {running.problem}", do)
            continue
        yield ok(name, f"runs here as process {running.pid}")
        yield from _look_at(running.part, running.settings)
    if none:
        do = "start one: lpmos up, lpmos control-plane or lpmos region"
        yield warning("this machine", "runs no part of LPMOS", do)


def _look_at(part: str, settings: Settings) -> Iterator[Finding]:
    yield from _state_dir(settings.state_dir)
    yield from judge_modes(_modes(settings))
    if (first := settings.state_dir / FIRST_PASSWORD).exists():
        do = f"lpmos user password admin, then delete {first}"
        yield warning("first password", f"{first} is still there", do)
    for name in CERTIFICATES:
        if path := getattr(settings, name, None):
            yield _certificate(name, path)
    if part != REGION:
        for address in settings.listen_addr:
            host, _, port = address.rpartition(":")
            if host != "fd":
                yield _port(host.strip("[]"), port, "the control plane")
    if part != CONTROL:
        if settings.region_addr:
            yield _port(settings.region_addr, settings.api_port, "the region")
        if settings.dhcp_mode != "off":
            yield from _dhcp()


def _state_dir(path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield warning(
            "state dir", f"{path}: {error.strerror}", "it is made at the first start, or set it"
        )
        return
    if not stat.S_ISDIR(mode):
        yield wrong("state dir", f"{path} is no directory", "name another with --state-dir")
    elif mode & 0o022:
        yield wrong("state dir", f"{path} can be written by others", f"chmod go-w {path}")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield warning("state dir", f"{path} is not yours", "look as the user who runs LPMOS")
    else:
        yield ok("state dir", str(path))
        usage = shutil.disk_usage(path)
        yield judge_space("disk space", usage.total, usage.free)


def _modes(settings: Settings) -> dict[str, int]:
    """The modes of the secret files that are there."""
    named = [path for name in SECRET_FILES if (path := getattr(settings, name, None))]
    own = [settings.state_dir / name for name in STATE_SECRETS]
    modes: dict[str, int] = {}
    for path in (*named, *own):
        try:
            modes[str(path)] = path.stat().st_mode
        except OSError:  # a file that is needed and missing is told of by who starts
            continue
    return modes


def _certificate(name: str, path: Path) -> Finding:
    from cryptography import x509

    subject = name.replace("_", " ")
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return wrong(subject, f"{path}: {error}", "name a PEM file that can be read")
    ends: datetime = certificate.not_valid_after_utc
    return judge_certificate(subject, ends, utc_now())


def _port(host: str, port: object, what: str) -> Finding:
    """Whether somebody answers; 0.0.0.0 is asked at 127.0.0.1."""
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    try:
        socket.create_connection((asked, int(str(port))), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        text = f"{what} does not answer at {asked}:{port} ({error})"
        return wrong("ports", text, "look at its log")
    return ok("ports", f"{what} answers at {asked}:{port}")


def _dhcp() -> Iterator[Finding]:
    program = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        yield wrong(
            "dnsmasq", "is not installed", "requirements/install region, or --dhcp-mode off"
        )
    else:
        yield ok("dnsmasq", program)
    bound = _bound_udp_ports()
    for port, service in ((DHCP_PORT, "DHCP"), (TFTP_PORT, "TFTP")):
        if port in bound:
            yield ok("ports", f"{service} is served (UDP {port})")
        else:
            yield warning("ports", f"nobody serves {service} (UDP {port})", "start lpmos region")


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
