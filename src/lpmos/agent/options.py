"""How the agent is told what to do: flag before environment before kernel argument."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lpmos.agent.errors import BadOptions
from lpmos.agent.trace import Trace, read_trace

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Options(NamedTuple):
    """One agent run's options; `mac` None means the NIC that booted.

    `nonce`, `ca_sha256`, `boot_url` (where files are by plain HTTP) and `trace` are the boot
    script's.
    """

    regional_url: str
    sn: str | None = None
    mac: str | None = None
    simulate: bool = False
    speed_mbit: float | None = None
    nonce: str | None = None
    ca_sha256: str | None = None
    boot_url: str | None = None
    trace: Trace | None = None


def kernel_arguments(command_line: str) -> dict[str, str]:
    """The `name=value` words of `/proc/cmdline`; a word without `=` has the value `""`."""
    pairs = (word.partition("=") for word in command_line.split())
    return {name: value for name, _, value in pairs}


def read_options(
    argv: Sequence[str], environment: Mapping[str, str], arguments: Mapping[str, str]
) -> Options:
    """Put the options together.

    Raises:
        BadOptions: something is missing or malformed; the text says what.
        SystemExit: `--help`, or a flag that does not exist.
    """
    flags = _flags(argv) if argv else {}
    url = (
        flags.get("regional_url")
        or environment.get("REGIONAL_CLIENT_URL")
        or arguments.get("lpmos_client")
    )
    mac = flags.get("mac")
    boot_url = arguments.get("lpmos_boot")
    return Options(
        regional_url=_checked_url(url),
        sn=flags.get("sn") or arguments.get("lpmos_sn") or None,
        mac=_checked_mac(mac) if mac else None,
        simulate=bool(flags.get("simulate")),
        speed_mbit=flags.get("speed_mbit"),
        nonce=arguments.get("lpmos_nonce") or None,
        ca_sha256=_checked_digest(arguments.get("lpmos_ca")),
        boot_url=_checked_url(boot_url) if boot_url else None,
        trace=read_trace(arguments.get("lpmos_trace")),
    )


def _checked_digest(text: str | None) -> str | None:
    if not text:
        return None
    kind, _, digest = text.lower().partition(":")
    if kind != "sha256" or not _SHA256.fullmatch(digest):
        raise BadOptions(f"the kernel argument lpmos_ca={text!r} is no sha256: and 64 hex digits")
    return digest


def _checked_url(url: str | None) -> str:
    if not url:
        raise BadOptions(
            "no region is named: give --regional-url, REGIONAL_CLIENT_URL,"
            " or the kernel argument lpmos_client="
        )
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise BadOptions(f"{url!r} is not a region's URL, as http://192.0.2.1:8081")
    return url.rstrip("/")


def _checked_mac(text: str) -> str:
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise BadOptions(f"{text!r} is not a MAC address, as 52:54:00:12:34:56")
    return mac


def _flags(argv: Sequence[str]) -> dict[str, Any]:
    import argparse  # in the RAM image there are no flags, and time is short

    parser = argparse.ArgumentParser(
        prog="lpmos-agent",
        description="Report this machine's hardware to its region and install what is approved.",
    )
    parser.add_argument("--regional-url", help="the region, as http://192.0.2.1:8081")
    parser.add_argument("--sn", help="the serial number, in place of the DMI tables'")
    parser.add_argument("--mac", help="the NIC to report as, in place of the one that booted")
    parser.add_argument(
        "--simulate", action="store_true", help="a made-up machine and no disk, same protocol"
    )
    parser.add_argument(
        "--speed-mbit", type=float, help="with --simulate: the network's speed in Mbit/s"
    )
    return vars(parser.parse_args(argv))
