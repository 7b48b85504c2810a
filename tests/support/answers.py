"""Answer files read back as their installers read them: the disks, the scripts, and the rest.

Independent of what wrote them: pykickstart, PyYAML, lxml, and debconf's own way of joining lines.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml
from lxml import etree
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

from lpmos.install import answers
from lpmos.install.answers import samples
from lpmos.install.answers.checks import kickstart_version
from lpmos.model.diskplan import GIB, RootDiskHints, StorageLayout, plan_disk
from lpmos.model.installer import Family, InstallerManifest
from lpmos.model.inventory import Disk
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task
from tests.support.builders import make_inventory, make_task

SECRETS = TaskSecrets(disk_passphrase="correct horse")
_PART = re.compile(r"""'([^']*)'|"\$b"|"'\"""")
_WORD = re.compile(f"(?:{_PART.pattern})+")
_OTHER = {'"$b"': "\\", '"\'"': "'"}
YAST = "{http://www.suse.com/1.0/yast2ns}"


class Storage(NamedTuple):
    """What an answer file makes of the disks, in no installer's words.

    `systems` are (mount point or `swap`, kind), `arrays` (level, disks), `volumes` (group, name).
    """

    disks: int
    systems: frozenset[tuple[str, str]]
    arrays: tuple[tuple[str, int], ...] = ()
    volumes: frozenset[tuple[str, str]] = frozenset()
    encrypted: bool = False


class Read(NamedTuple):
    """An answer file as its installer reads it: scripts apart, the rest by names alone."""

    storage: Storage
    scripts: tuple[str, ...]
    names: tuple[str, ...]


def answer_task(*, layout: str | StorageLayout = "auto", uefi: bool = False, **fields: Any) -> Task:
    """An approved task of a machine with four equal disks; the layout is planned."""
    disks = tuple(
        Disk(device=f"/dev/vd{letter}", size_bytes=100 * GIB, kind="ssd", serial=f"DISK-{letter}")
        for letter in "abcd"
    )
    hardware = make_inventory(disks=disks, boot_mode="uefi" if uefi else "bios")
    plan = plan_disk(hardware, layout, RootDiskHints(), GIB)
    return make_task(plan=plan, hardware=hardware, **fields)


def answer_of(
    family: Family,
    task: Task,
    secrets: TaskSecrets = SECRETS,
    manifest: InstallerManifest | None = None,
) -> str:
    """The answer file of a family for a task, by the family's newest release but one."""
    of = answers.FAMILIES[family]
    chosen = manifest or samples.manifest_of(of, *of.releases[min(1, len(of.releases) - 1)])
    return answers.render(family, answers.variables(task, chosen, samples.URLS, secrets))


def preseed_values(text: str) -> dict[str, str]:
    """The values by question, joined as Debian's installer joins lines (its shell script)."""
    found, held = {}, ""
    for line in text.split("\n"):
        if line.startswith("#") or not line.strip():
            continue
        line = line.lstrip()
        if line.endswith("\\"):
            held = f"{held} {line[:-1].rstrip()}".strip() if held else line[:-1].rstrip()
            continue
        whole, held = (f"{held} {line}" if held else line), ""
        fields = whole.split(None, 3)
        found[fields[1]] = fields[3] if len(fields) == 4 else ""
    return found


def _preseed_script(value: str) -> str:
    """The script that the value of a command writes to a file."""
    assert "\\" not in value  # cdebconf may read one as the beginning of another character
    head, quoted = value.split(' printf "%s${b}n" ', 1)
    assert head.startswith("""b=$(awk 'BEGIN { printf "%c", 92 }'); mkdir -p /tmp/lpmos;""")
    words, place = [], 0
    while (word := _WORD.match(quoted, place)) and word[0].startswith("'"):
        parts = (
            part[1] if part[0][0] == "'" else _OTHER[part[0]] for part in _PART.finditer(word[0])
        )
        words.append("".join(parts))
        place = word.end() + 1
    assert re.fullmatch(r">(/tmp/lpmos/[a-z]+\.sh); sh \1", quoted[place:])
    return "\n".join(words) + "\n"


def read_preseed(text: str) -> Read:
    """Debian's installer."""
    values = preseed_values(text)
    scripts = tuple(
        _preseed_script(values[name])
        for name in ("preseed/early_command", "partman/early_command", "preseed/late_command")
    )
    head, _, recipe = values["partman-auto/expert_recipe"].partition(" :: ")
    assert head == values["partman-auto/choose_recipe"]
    entries = [entry.split() for entry in recipe.removesuffix(" .").split(" . ")]
    systems, volumes = set(), set()
    for words in entries:
        marks = dict(re.findall(r"(\S+)\{ (\S*) ?\}", " ".join(words)))
        if "mountpoint" in marks:
            systems.add((marks["mountpoint"], marks["filesystem"]))
        elif marks.get("method") == "swap":
            systems.add(("swap", "swap"))
        if "lv_name" in marks:
            volumes.add((marks["in_vg"], marks["lv_name"]))
    raid = re.search(r'partman-auto-raid/recipe "(.*)"\n', scripts[1])
    arrays = []
    for words in (
        (part.split(None, 5) for part in raid[1].removesuffix(" .").split(" . ")) if raid else ()
    ):
        level, count, _, kind, mount, devices = words
        assert len(devices.split("#")) == int(count)
        arrays.append((f"raid{level}", int(count)))
        if kind != "lvm":
            systems.add((mount if mount != "-" else kind, "swap" if kind == "swap" else kind))
    disks = re.search(r'partman-auto/disk "(.*)"\n', scripts[1])
    assert disks
    storage = Storage(len(disks[1].split()), frozenset(systems), tuple(arrays), frozenset(volumes))
    return Read(storage, scripts, tuple(values))


def read_autoinstall(text: str) -> Read:
    """Ubuntu's installer, with what cloud-init writes for it."""
    whole = yaml.safe_load(text)
    found = whole["autoinstall"]
    files = {file["path"]: file["content"] for file in whole["write_files"]}
    actions = found["storage"]["config"]
    by_id = {action["id"]: action for action in actions}
    systems = set()
    for action in actions:
        if action["type"] == "mount" and action["path"] != "/boot/efi":
            kind = by_id[action["device"]]["fstype"]
            systems.add((action["path"] or kind, kind))
        for name in ("device", "volume", "volgroup"):
            assert action.get(name) is None or action[name] in by_id, action
    storage = Storage(
        sum(action["type"] == "disk" for action in actions),
        frozenset(systems),
        tuple((a["raidlevel"], len(a["devices"])) for a in actions if a["type"] == "raid"),
        frozenset((a["volgroup"], a["name"]) for a in actions if a["type"] == "lvm_partition"),
        any(action["type"] == "dm_crypt" for action in actions),
    )
    commands = (*found["early-commands"], *found["late-commands"], *found["error-commands"])
    assert all(shell == "sh" for shell, _ in commands)
    return Read(storage, tuple(files[path] for _, path in commands), tuple(_names(found)))


def read_kickstart(text: str, version: str = "RHEL9") -> Read:
    """Anaconda, with the commands that the first script writes where they are included."""
    pre = text.partition("%pre")[2].partition("\n%end")[0]
    commands = pre.partition("<<'LPMOS_DISKS'\n")[2].partition("\nLPMOS_DISKS")[0]
    commands = re.sub(
        "lpmos-disk-0([1-9])", lambda found: "sd" + "_abcdefghi"[int(found[1])], commands
    )
    whole = text.replace("\n%include /tmp/lpmos/disks.ks\n", f"\n{commands}\n")
    assert whole != text
    handler = makeVersion(version)
    with warnings.catch_warnings(action="ignore"):
        parser = KickstartParser(handler, followIncludes=False)
        parser.readKickstartFromString(whole)
    systems = set()
    parts = (*handler.partition.partitions, *handler.raid.raidList, *handler.logvol.lvList)
    for part in parts:
        if part.mountpoint == "swap" or re.match("/(?!boot/efi)", part.mountpoint):
            systems.add((part.mountpoint, part.fstype))
    storage = Storage(
        len(handler.ignoredisk.onlyuse),
        frozenset(systems),
        tuple((each.level.lower(), len(each.members)) for each in handler.raid.raidList),
        frozenset((each.vgname, each.name) for each in handler.logvol.lvList),
        any(part.encrypted for part in parts),
    )
    scripts = tuple(script.script for script in handler.scripts)
    lines = str(handler).partition("\n%")[0].split("\n")
    names = [line.split()[0] for line in lines if line[:1].isalpha()]
    return Read(storage, scripts, tuple(names))


def appended_by_kickstart(commands: Iterable[str]) -> list[str]:
    """The words that these commands of disks add to the kernel's line, as Anaconda has them."""
    (bootloader,) = (line for line in commands if line.startswith("bootloader "))
    handler = makeVersion("RHEL9")
    KickstartParser(handler).readKickstartFromString(f"{bootloader}\n")
    return str(handler.bootloader.appendLine).split()


def arrays_by_kickstart(commands: Iterable[str], version: str) -> list[str]:
    """What these commands of disks call their arrays, as a release's Anaconda is told it."""
    handler = makeVersion(version)
    with warnings.catch_warnings(action="ignore"):
        KickstartParser(handler).readKickstartFromString("\n".join(commands) + "\n")
    return [str(array.device) for array in handler.raid.raidList]


def read_autoyast(text: str) -> Read:
    """AutoYaST."""
    root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False))

    def word(of: Any, name: str) -> str:
        return str(of.findtext(f"{YAST}{name}") or "")

    systems, volumes, arrays, members, disks = set(), set(), [], [], 0
    for drive in root.find(f"{YAST}partitioning"):
        kind = word(drive, "type")
        disks += kind == "CT_DISK"
        if kind == "CT_MD":
            raid_type = word(drive.find(f"{YAST}raid_options"), "raid_type")
            arrays.append((raid_type, word(drive, "device")))
        for part in drive.find(f"{YAST}partitions"):
            members.append(word(part, "raid_name"))
            mount = word(part, "mount")
            if mount and mount != "/boot/efi":
                systems.add((mount, word(part, "filesystem")))
            if word(part, "lv_name"):
                group = word(drive, "device").removeprefix("/dev/")
                volumes.add((group, word(part, "lv_name")))
    storage = Storage(
        disks,
        frozenset(systems),
        tuple((level, members.count(device)) for level, device in arrays),
        frozenset(volumes),
        root.find(f".//{YAST}crypt_key") is not None,
    )
    scripts = tuple(source.text for source in root.iter(f"{YAST}source"))
    return Read(storage, scripts, tuple(str(element.tag) for element in root.iter()))


def _names(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [name for key, part in value.items() for name in (str(key), *_names(part))]
    if isinstance(value, list):
        return [name for part in value for name in ("-", *_names(part))]
    return []


READERS: Mapping[Family, Callable[[str], Read]] = MappingProxyType(
    {
        "debian": read_preseed,
        "ubuntu": read_autoinstall,
        "rhel": read_kickstart,
        "suse": read_autoyast,
    }
)
"""A row for each family; a new one needs its reader here and no more."""

SHELL_FAMILIES: tuple[Family, ...] = tuple(READERS)
"""Those whose answer makes the planned disks and brings scripts; Windows's has neither."""


def read_release(family: Family, text: str, os_type: str, os_version: str) -> Read:
    """Read an answer for a release, where an installer's language differs between them."""
    if family == "rhel":
        import pykickstart.version as versions

        return read_kickstart(text, kickstart_version(os_type, os_version, versions))
    return READERS[family](text)
