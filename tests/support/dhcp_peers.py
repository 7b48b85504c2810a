"""What stands beside a region on its network: another DHCP server, a DHCP relay, a second network.

Each is dnsmasq in a network namespace of its own, plugged into the bridge of `wire`; the kernel
ends it with the process that holds the namespace.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.wire import BRIDGE, COMMAND_TIMEOUT_S, Wire, held_namespace

PEER_ADDRESS = "10.92.0.2"
RELAY_ADDRESS = "10.92.0.3"
RELAYED_ADDRESS = "10.93.0.1"
RELAYED_INTERFACE = "c1"
_QUIET = ("--keep-in-foreground", "--port=0", "--log-facility=-", "--conf-file=/dev/null")


@contextmanager
def neighbour(first: str, last: str) -> Iterator[None]:
    """Another DHCP server on the bridge, which gives addresses and names no loader."""
    with held_namespace() as pid:
        plug("p0", pid, PEER_ADDRESS)
        lines = ("--interface=p0", "--bind-interfaces", "--no-ping", "--leasefile-ro")
        with _dnsmasq(pid, *lines, f"--dhcp-range={first},{last},600"):
            yield


@contextmanager
def relay(network: Wire, server: str) -> Iterator[None]:
    """A router with a DHCP relay between the bridge and `RELAYED_INTERFACE` of the client."""
    with held_namespace() as pid:
        plug("r0", pid, RELAY_ADDRESS)
        _ip("link", "add", "r1", "netns", str(pid), "type", "veth", "peer", "name",
            RELAYED_INTERFACE, "netns", str(network.holder_pid))  # fmt: skip
        in_namespace(pid, "ip", "address", "add", f"{RELAYED_ADDRESS}/24", "dev", "r1")
        in_namespace(pid, "ip", "link", "set", "r1", "up")
        in_namespace(pid, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        in_namespace(network.holder_pid, "ip", "link", "set", RELAYED_INTERFACE, "up")
        _ip("route", "add", f"{RELAYED_ADDRESS.rpartition('.')[0]}.0/24", "via", RELAY_ADDRESS)
        with _dnsmasq(pid, f"--dhcp-relay={RELAYED_ADDRESS},{server}", "--interface=r1"):
            yield


def second_network(network: Wire, name: str, address: str) -> tuple[str, str]:
    """Another network between region and client, as a VLAN is one: the interface of each."""
    theirs = f"c-{name}"
    _ip("link", "add", name, "type", "veth", "peer", "name", theirs, "netns",
        str(network.holder_pid))  # fmt: skip
    _ip("address", "add", f"{address}/24", "dev", name)
    _ip("link", "set", name, "up")
    in_namespace(network.holder_pid, "ip", "link", "set", theirs, "up")
    return name, theirs


def plug(name: str, pid: int, address: str) -> None:
    """Put an interface of a namespace into the bridge."""
    _ip("link", "add", f"{name}-switch", "type", "veth", "peer", "name", name, "netns", str(pid))
    _ip("link", "set", f"{name}-switch", "master", BRIDGE, "up")
    in_namespace(pid, "ip", "address", "add", f"{address}/24", "dev", name)
    in_namespace(pid, "ip", "link", "set", name, "up")


def in_namespace(pid: int, *argv: str) -> None:
    """Run a command in the namespace that a process holds."""
    _run(("nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv))


@contextmanager
def _dnsmasq(pid: int, *options: str) -> Iterator[None]:
    enter = ("nsenter", f"--net=/proc/{pid}/ns/net", "--")
    argv = ("setpriv", "--pdeathsig", "KILL", "--", *enter, "dnsmasq", *_QUIET, *options)
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert b"started" in first, first
            yield
        finally:
            process.kill()


def _ip(*arguments: str) -> None:
    _run(("ip", *arguments))


def _run(argv: Sequence[str]) -> None:
    subprocess.run(argv, check=True, timeout=COMMAND_TIMEOUT_S)
