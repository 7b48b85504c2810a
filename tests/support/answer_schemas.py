"""Schemas of answer files, written from the public references for the parts that are used.

Sources: Ubuntu's autoinstall reference with curtin's storage actions and apt sources; SUSE's
AutoYaST guide; Microsoft's unattended setup reference. What they do not name is refused, also where
the installers would pass over it.
"""

from typing import Any

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_SCRIPTS = {"type": "array", "items": _TEXT}


def _closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _action(kind: str, required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    own = {"type": {"const": kind}, "id": _TEXT, "preserve": _FLAG}
    return _closed(("type", "id", *required), **own, **properties)


_SIZE = {"anyOf": [{"type": "integer", "minimum": -1}, {"type": "string", "pattern": "^[0-9]+B$"}]}
_ACTIONS = (
    _action(
        *("disk", ("path", "ptable")),
        path=_TEXT, ptable={"const": "gpt"}, wipe=_TEXT, grub_device=_FLAG,
    ),
    _action(
        *("partition", ("device", "size")),
        device=_TEXT, size=_SIZE, number={"type": "integer", "minimum": 1}, wipe=_TEXT,
        flag={"enum": ["bios_grub", "boot"]}, grub_device=_FLAG,
    ),
    _action(
        *("raid", ("name", "raidlevel", "devices")),
        name=_TEXT, raidlevel={"enum": ["raid1", "raid5", "raid10"]},
        devices={"type": "array", "items": _TEXT, "minItems": 2},
    ),
    _action("dm_crypt", ("volume", "key"), volume=_TEXT, key=_TEXT, dm_name=_TEXT),
    _action("lvm_volgroup", ("name", "devices"), name=_TEXT, devices=_SCRIPTS),
    _action(
        *("lvm_partition", ("name", "volgroup", "size")),
        name=_TEXT, volgroup=_TEXT, size=_SIZE, wipe=_TEXT,
    ),
    _action(
        *("format", ("volume", "fstype")),
        volume=_TEXT, fstype={"enum": ["ext4", "xfs", "btrfs", "fat32", "swap"]},
    ),
    _action("mount", ("device", "path"), device=_TEXT, path=_TEXT),
)  # fmt: skip
_MIRRORS = {"type": "array", "items": _closed(("arches", "uri"), arches=_SCRIPTS, uri=_TEXT)}

_COMMANDS = {
    "type": "array",
    "items": {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
}
_FILE = _closed(
    ("path", "permissions", "content"),
    path={"type": "string", "pattern": "^/run/"}, permissions={"const": "0600"}, content=_TEXT,
)  # fmt: skip

AUTOINSTALL: dict[str, Any] = _closed(
    ("write_files", "autoinstall"),
    write_files={"type": "array", "items": _FILE},
    autoinstall=_closed(
        ("version", "storage", "user-data"),
        **{
            "version": {"const": 1},
            "locale": _TEXT,
            "timezone": _TEXT,
            "keyboard": _closed(("layout",), layout=_TEXT, variant=_TEXT),
            "refresh-installer": _closed((), update=_FLAG, channel=_TEXT),
            "ssh": _closed((), **{"install-server": _FLAG, "allow-pw": _FLAG}),
            "apt": _closed(
                (),
                geoip=_FLAG,
                preserve_sources_list=_FLAG,
                primary=_MIRRORS,
                security=_MIRRORS,
            ),
            "packages": _SCRIPTS,
            "storage": _closed(
                ("config",),
                swap=_closed(("size",), size={"const": 0}),
                config={"type": "array", "items": {"oneOf": list(_ACTIONS)}},
            ),
            "user-data": {"type": "object"},
            "early-commands": _COMMANDS,
            "late-commands": _COMMANDS,
            "error-commands": _COMMANDS,
            "shutdown": {"enum": ["reboot", "poweroff"]},
        },
    ),
)

_LIST = '<attribute name="config:type"><value>list</value></attribute>'


def _element(name: str, content: str, occurs: str = "") -> str:
    found = f'<element name="{name}">{content or "<empty/>"}</element>'
    return f"<{occurs}>{found}</{occurs}>" if occurs else found


def _word(name: str, kind: str = "", values: str = "", occurs: str = "") -> str:
    """An element with a text: of a YaST type, or one of several words."""
    typed = f'<attribute name="config:type"><value>{kind}</value></attribute>' if kind else ""
    words = "".join(f"<value>{word}</value>" for word in values.split())
    return _element(name, typed + (f"<choice>{words}</choice>" if words else "<text/>"), occurs)


def _flag(name: str, occurs: str = "") -> str:
    return _word(name, "boolean", "true false", occurs)


def _many(name: str, item: str) -> str:
    return _element(name, f"{_LIST}<zeroOrMore>{item}</zeroOrMore>")


def _some(name: str, item: str) -> str:
    """A list that is left out where it is empty: YaST takes it for a fault of the profile."""
    return _element(name, f"{_LIST}<oneOrMore>{item}</oneOrMore>", "optional")


_PARTITION = _element(
    "partition",
    "<interleave>"
    + _flag("create")
    + _flag("format")
    + _word("size")
    + _word("partition_nr", "integer", occurs="optional")
    + _word("partition_id", "integer", "131 259 263 130 142 253", "optional")
    + _word("filesystem", "symbol", "ext4 xfs btrfs vfat swap", "optional")
    + _word("mount", occurs="optional")
    + _word("mountby", "symbol", "uuid", "optional")
    + "".join(_word(name, occurs="optional") for name in ("lv_name", "lvm_group", "raid_name"))
    + _word("crypt_method", "symbol", "luks2", "optional")
    + _word("crypt_key", occurs="optional")
    + "</interleave>",
)
_DRIVE = _element(
    "drive",
    "<interleave>"
    + _word("device")
    + _word("type", "symbol", "CT_DISK CT_MD CT_LVM")
    + _word("disklabel", "", "gpt none", "optional")
    + _flag("initialize")
    + _word("use", "", "all")
    + _flag("enable_snapshots")
    + _many("partitions", _PARTITION)
    + _element("raid_options", _word("raid_type", "", "raid1 raid5 raid10"), "optional")
    + "</interleave>",
)
_INTERFACE = _element(
    "interface",
    "<interleave>"
    + "".join(_word(name) for name in ("name", "device"))
    + _word("startmode", "", "auto")
    + _word("bootproto", "", "dhcp static none")
    + "".join(
        _word(name, occurs="optional")
        for name in (
            *("ipaddr", "prefixlen", "mtu", "etherdevice", "vlan_id", "bridge_ports"),
            "bonding_module_opts",
        )
    )
    + "".join(_word(name, "", "yes", "optional") for name in ("bridge", "bonding_master"))
    + _word("bridge_stp", "", "on off", "optional")
    + "".join(_word(f"bonding_slave{number}", occurs="optional") for number in range(4))
    + _element(
        "aliases",
        "".join(
            _element(f"alias{number}", _word("IPADDR") + _word("PREFIXLEN"), "optional")
            for number in range(4)
        ),
        "optional",
    )
    + "</interleave>",
)
_NETWORKING = _element(
    "networking",
    _flag("keep_install_network")
    + _flag("setup_before_proposal")
    + _element(
        "dns",
        _word("hostname")
        + _flag("dhcp_hostname")
        + _some("nameservers", _word("nameserver"))
        + _some("searchlist", _word("search")),
    )
    + _many("interfaces", _INTERFACE)
    + _some(
        "net-udev",
        _element("rule", _word("name") + _word("rule", "", "ATTR{address}") + _word("value")),
    )
    + _element(
        "routing",
        _flag("ipv4_forward")
        + _flag("ipv6_forward")
        + _some(
            "routes",
            _element("route", "".join(map(_word, ("destination", "gateway", "device")))),
        ),
    ),
)
_HOST = _element(
    "host",
    _many(
        "hosts",
        _element(
            "hosts_entry", _word("host_address", "", "127.0.1.1") + _many("names", _word("name"))
        ),
    ),
)
_ADD_ON = _element(
    "add-on",
    _many(
        "add_on_products",
        _element("listentry", "".join(map(_word, ("media_url", "product", "product_dir")))),
    ),
    "optional",
)
_SCRIPT = _element(
    "script",
    _word("filename")
    + _word("interpreter", "", "shell")
    + _flag("debug", "optional")
    + _flag("chrooted", "optional")
    + _word("source"),
)
AUTOYAST = (
    '<grammar xmlns="http://relaxng.org/ns/structure/1.0" ns="http://www.suse.com/1.0/yast2ns"'
    ' xmlns:config="http://www.suse.com/1.0/configns"><start>'
    + _element(
        "profile",
        _element("general", _element("mode", _flag("confirm") + _flag("second_stage")))
        + _element(
            "report",
            "".join(
                _element(kind, _flag("show") + _word("timeout", "integer") + _flag("log"))
                for kind in ("errors", "warnings")
            ),
        )
        + _element("language", _word("language"))
        + _element("keyboard", _word("keymap"))
        + _element("timezone", _word("hwclock", "", "UTC") + _word("timezone"))
        + _element(
            "bootloader",
            _word("loader_type", "", "grub2 grub2-efi")
            + _element(
                "global",
                "".join(map(_word, ("append", "terminal", "serial")))
                + _word("timeout", "integer")
                + _word("boot_mbr", "", "true", "optional"),
            ),
        )
        + _many("partitioning", _DRIVE)
        + _NETWORKING
        + _HOST
        + _element("firewall", _flag("enable_firewall") + _flag("start_firewall"))
        + _element(
            "services-manager",
            _word("default_target", "", "multi-user")
            + _element("services", _many("enable", _word("service"))),
        )
        + _ADD_ON
        + _element(
            "software",
            _flag("install_recommended")
            + _many("products", _word("product"))
            + _many("patterns", _word("pattern"))
            + _many("packages", _word("package")),
        )
        + _many(
            "users",
            _element("user", _word("username") + _flag("encrypted") + _word("user_password")),
        )
        + _element("scripts", _many("pre-scripts", _SCRIPT) + _many("chroot-scripts", _SCRIPT)),
    )
    + "</start></grammar>"
)
"""RELAX NG; elements stand in the order of the package's template where it is not interleaved."""

_WCM = '<attribute name="wcm:action"><value>add</value></attribute>'
_KEY = '<attribute name="wcm:keyValue"><data type="positiveInteger"/></attribute>'


def _data(name: str, pattern: str, occurs: str = "") -> str:
    """An element whose text has a pattern of XML Schema."""
    text = f'<data type="string"><param name="pattern">{pattern}</param></data>'
    return _element(name, text, occurs)


def _keyed(name: str, pattern: str) -> str:
    """Elements of a list that counts them by `wcm:keyValue`."""
    text = f'<data type="string"><param name="pattern">{pattern}</param></data>'
    return _element(name, _WCM + _KEY + text, "oneOrMore")


def _component(name: str, content: str) -> str:
    """A component with what names it in every answer file for 64-bit x86."""
    said = {
        "name": f"Microsoft-Windows-{name}",
        "processorArchitecture": "amd64",
        "publicKeyToken": "31bf3856ad364e35",
        "language": "neutral",
        "versionScope": "nonSxS",
    }
    marks = "".join(
        f'<attribute name="{each}"><value>{value}</value></attribute>'
        for each, value in said.items()
    )
    return _element("component", marks + content)


def _settings(of: str, content: str) -> str:
    return _element("settings", f'<attribute name="pass"><value>{of}</value></attribute>{content}')


_ADDRESS = "[0-9a-f.:]+"
_PREFIX = "[0-9a-f.:]+/[0-9]{1,3}"
_CARD = _data("Identifier", "[0-9A-F]{2}(-[0-9A-F]{2}){5}")
_BOOLEAN = "true|false"
_PASSWORD = _data("Value", "[ -~]{1,127}") + _data("PlainText", "true")
_LANGUAGE = "[a-z]{2,3}(-[A-Za-z0-9]+)*"
UNATTEND = (
    '<grammar xmlns="http://relaxng.org/ns/structure/1.0" ns="urn:schemas-microsoft-com:unattend"'
    ' xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State"'
    ' datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes"><start>'
    + _element(
        "unattend",
        _settings(
            "specialize",
            _component(
                "Shell-Setup",
                _data("ComputerName", "[A-Za-z0-9]([A-Za-z0-9-]{0,13}[A-Za-z0-9])?")
                + _data("TimeZone", "[A-Za-z.() ]{1,64}"),
            )
            + _component(
                "TCPIP",
                _element(
                    "Interfaces",
                    _element(
                        "Interface",
                        _WCM
                        + "".join(
                            _element(f"Ipv{version}Settings", _data("DhcpEnabled", _BOOLEAN))
                            for version in (4, 6)
                        )
                        + _CARD
                        + _element("UnicastIpAddresses", _keyed("IpAddress", _PREFIX), "optional")
                        + _element(
                            "Routes",
                            _element(
                                "Route",
                                _WCM
                                + _data("Identifier", "[0-9]+")
                                + _data("NextHopAddress", _ADDRESS)
                                + _data("Prefix", _PREFIX),
                                "oneOrMore",
                            ),
                            "optional",
                        ),
                        "oneOrMore",
                    ),
                ),
            )
            + _component(
                "DNS-Client",
                _data("DNSDomain", "[A-Za-z0-9.-]+", "optional")
                + _element(
                    "DNSSuffixSearchOrder", _keyed("DomainName", "[A-Za-z0-9.-]+"), "optional"
                )
                + _element(
                    "Interfaces",
                    _element(
                        "Interface",
                        _WCM
                        + _CARD
                        + _element("DNSServerSearchOrder", _keyed("IpAddress", _ADDRESS)),
                        "oneOrMore",
                    ),
                    "optional",
                ),
            ),
        )
        + _settings(
            "oobeSystem",
            _component(
                "International-Core",
                "".join(
                    _data(name, _LANGUAGE)
                    for name in ("InputLocale", "SystemLocale", "UILanguage", "UserLocale")
                ),
            )
            + _component(
                "Shell-Setup",
                _element(
                    "OOBE",
                    "".join(
                        _data(name, _BOOLEAN)
                        for name in (
                            *("HideEULAPage", "HideLocalAccountScreen"),
                            *("HideOEMRegistrationScreen", "HideOnlineAccountScreens"),
                            "HideWirelessSetupInOOBE",
                        )
                    )
                    + _data("ProtectYourPC", "[123]"),
                )
                + _element(
                    "UserAccounts",
                    _element("AdministratorPassword", _PASSWORD)
                    + _element(
                        "LocalAccounts",
                        _element(
                            "LocalAccount",
                            _WCM
                            + _data("Name", "[a-z_][a-z0-9_-]{0,19}")
                            + _data("Group", "Administrators|Users")
                            + _element("Password", _PASSWORD),
                            "oneOrMore",
                        ),
                        "optional",
                    ),
                ),
            ),
        ),
    )
    + "</start></grammar>"
)
"""RELAX NG; settings of an interface stand in the order that Microsoft's reference asks for."""
