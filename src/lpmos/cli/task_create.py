"""The fields of a new task as flags, and the body that they make.

What is wrong with a value is the control plane's to say: it names every wrong field at once. Here
is only checked what cannot be sent.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from lpmos.cli.failures import Usage
from lpmos.cli.job import add_job, job_of
from lpmos.cli.options import pair

_WHOLE_NUMBERS = ("min_size_bytes", "max_size_bytes")
_YES_OR_NO = ("rotational", "overwrite", "nvme")
_PLACE = ("idc", "sn", "mac")
_PLAIN = ("hostname", "tenant", "method", "kernel_arguments")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Which machine: the flags that a report of a machine says already."""
    fields = parser.add_argument_group("the machine")
    fields.add_argument("--idc", help="the data center")
    fields.add_argument("--mac", help="the NIC that boots, in any notation")
    fields.add_argument("--sn", help="serial number (else made from the MAC)")


def add_fields(parser: argparse.ArgumentParser) -> None:
    """What shall be installed, and how."""
    fields = parser.add_argument_group("the installation")
    fields.add_argument("--os", nargs=2, metavar=("TYPE", "VERSION"), help="as `debian 12`")
    fields.add_argument(
        "--method",
        choices=("image", "installer"),
        help="by image, or by the distribution's own installer (else by image where there is one)",
    )
    add_job(fields)
    fields.add_argument("--hostname", help="(else made from the serial number)")
    fields.add_argument(
        "--disk-layout",
        metavar="NAME|JSON|@FILE",
        help="auto, lvm, raid1, raid5, raid10, or a document as JSON (else `auto`)",
    )
    fields.add_argument(
        "--disk-passphrase-file",
        type=Path,
        metavar="FILE",
        help="what opens the disks of a layout with `encrypt`; `-` is standard input",
    )
    fields.add_argument(
        "--root-disk",
        action="append",
        type=pair,
        metavar="HINT=VALUE",
        help="serial, wwn, model, device, path, min_size_bytes, max_size_bytes, nvme=yes|no,"
        " rotational=yes|no, overwrite=yes; repeatable",
    )
    fields.add_argument("--address", metavar="IP/PREFIX", help="a fixed address (else DHCP)")
    fields.add_argument("--gateway", metavar="IP", help="with --address")
    fields.add_argument("--dns", action="append", metavar="IP", help="with --address; repeatable")
    fields.add_argument(
        "--ssh-key-file",
        action="append",
        type=Path,
        metavar="FILE",
        help="public keys for root, one in a line; repeatable",
    )
    fields.add_argument(
        "--kernel-arguments",
        metavar="WORDS",
        help="for the installed system's kernel: `console=ttyS1,115200n8 hugepages=16`",
    )
    fields.add_argument(
        "--setup",
        metavar="JSON|@FILE",
        help="users, packages, commands, cloud-init, Ansible, Puppet as a document; the flags below"
        " add to it",
    )
    fields.add_argument(
        "--user", action="append", metavar="NAME", help="a user with root's rights; repeatable"
    )
    fields.add_argument("--package", action="append", metavar="NAME", help="repeatable")
    fields.add_argument(
        "--run",
        dest="commands",
        action="append",
        metavar="COMMAND",
        help="in the new system; repeatable",
    )
    fields.add_argument("--tag", action="append", type=pair, metavar="KEY=VALUE", help="repeatable")
    fields.add_argument("--tenant", help="whose it is (else yours)")
    fields.add_argument(
        "--from",
        dest="file",
        type=Path,
        metavar="FILE",
        help="the fields as JSON; flags go before what it says",
    )


def place_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """The fields that say which machine."""
    return {name: value for name in _PLACE if (value := getattr(chosen, name)) is not None}


def body_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """The fields that say what shall be installed.

    Raises:
        Usage: a file cannot be read, or a value cannot be sent.
    """
    body = read_json(chosen.file) if chosen.file else {}
    if not isinstance(body, dict):
        raise Usage(f"{chosen.file} holds no JSON object")
    body |= {name: value for name in _PLAIN if (value := getattr(chosen, name)) is not None}
    if chosen.os:
        body["os_type"], body["os_version"] = chosen.os
    if chosen.steps:
        body["job"] = job_of(chosen.steps)
    if chosen.disk_layout:
        body["disk_layout"] = disk_layout(chosen.disk_layout)
    if chosen.disk_passphrase_file:
        body["disk_passphrase"] = read_text(chosen.disk_passphrase_file).rstrip("\r\n")
    if chosen.root_disk:
        body["root_disk"] = {name: _hint(name, text) for name, text in chosen.root_disk}
    if chosen.address:
        static = {"address": chosen.address, "gateway": chosen.gateway, "dns": chosen.dns}
        body["network_config"] = {name: value for name, value in static.items() if value}
    elif chosen.gateway or chosen.dns:
        raise Usage("--gateway and --dns need --address: with DHCP the network says them")
    if chosen.ssh_key_file:
        body["ssh_keys"] = [key for file in chosen.ssh_key_file for key in _keys(file)]
    if setup := setup_of(chosen):
        body["setup"] = {**body.get("setup", {}), **setup}
    if chosen.tag:
        body["tags"] = dict(chosen.tag)
    return body


def disk_layout(text: str) -> Any:
    """A layout as a person gives it: a name, a document, or `@` and the file that has it.

    Raises:
        Usage: the file cannot be read, or it is no JSON.
    """
    if text.startswith("@"):
        return read_json(Path(text.removeprefix("@")))
    return _json("--disk-layout", text) if text.lstrip().startswith("{") else text


def setup_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """The setup that the flags say; empty where they say none. `--user`s log in with root's keys.

    Raises:
        Usage: a file cannot be read, or it is no JSON object.
    """
    text = chosen.setup or "{}"
    setup = read_json(Path(text[1:])) if text.startswith("@") else _json("--setup", text)
    if not isinstance(setup, dict):
        raise Usage("--setup holds no JSON object")
    keys = [key for file in chosen.ssh_key_file or () for key in _keys(file)]
    users = [{"name": name, "ssh_keys": keys, "sudo": "nopasswd"} for name in chosen.user or ()]
    more = {"users": users, "packages": chosen.package, "commands": chosen.commands}
    return setup | {name: [*setup.get(name, []), *each] for name, each in more.items() if each}


def _json(flag: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Usage(f"{flag} is not JSON: {error}") from error


def read_json(file: Path) -> Any:
    """The JSON document in a file; `-` is standard input.

    Raises:
        Usage: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise Usage(f"{file} is not JSON: {error}") from error


def read_text(file: Path) -> str:
    """A file's text; `-` is standard input.

    Raises:
        Usage: it cannot be read.
    """
    try:
        return Path("/dev/stdin" if str(file) == "-" else file).read_text()
    except (OSError, ValueError) as error:
        raise Usage(f"{file} cannot be read: {error}") from error


def _hint(name: str, text: str) -> Any:
    if name in _YES_OR_NO:
        if text not in ("yes", "no"):
            raise Usage(f"--root-disk {name}={text}: yes or no")
        return text == "yes"
    if name in _WHOLE_NUMBERS:
        if not (text.isascii() and text.isdecimal()):
            raise Usage(f"--root-disk {name}={text}: a number of bytes")
        return int(text)
    return text


def _keys(file: Path) -> list[str]:
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
