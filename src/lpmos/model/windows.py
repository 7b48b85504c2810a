"""What a task of Windows can say: names and forms differ from those of the other systems.

The rule: what Windows's installation cannot make is refused where the task is created, by the
field's name; what passes here needs no further decision of whoever writes the answer file.

Windows takes passwords, no hashes: the password of the user `NAME` is the secret `PASSWORD_NAME`,
in capitals with `_` for `-`. The user `administrator` is the one that Windows brings itself.

Sources: Microsoft's unattended setup reference (ComputerName, TimeZone, UserAccounts), its naming
conventions for computers and its password policy, CLDR's table of Windows zones.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from lpmos.model.diskplan import StorageLayout, is_one_plain_disk
from lpmos.model.errors import FieldProblem
from lpmos.model.network import Ethernet, Network
from lpmos.model.newtask import NewTask
from lpmos.model.setup import NewAccount, NewSetup

OS_TYPE = "windows"
ADMINISTRATOR = "administrator"
COMPUTER_NAME_CHARACTERS = 15
ACCOUNT_CHARACTERS = 20
PASSWORD_CHARACTERS = (8, 127)
PASSWORD_CLASSES = 3
"""Of capitals, small letters, digits and others: what Windows Server asks of a password."""
VALUE_CHARACTERS = 2000
"""A line of a batch file has 8191 at most, and some characters stand there twice."""
COMMANDS_PREFIX = "LPMOS_"

_BUILT_IN = frozenset({"guest", "defaultaccount", "wdagutilityaccount", "system"})
_OWN_NAMES = frozenset(
    {
        *("PATH", "PATHEXT", "COMSPEC", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP"),
        *("PROMPT", "CD", "DATE", "TIME", "RANDOM", "ERRORLEVEL", "CMDCMDLINE", "CMDEXTVERSION"),
    }
)
_PASSWORD = re.compile(r"[ -~]+")
_VALUE = re.compile(r"[ !#-~]+")
_LOCALE = re.compile(r"([a-z]{2,3})_([A-Z]{2})([.@].*)?")
_CLASSES = tuple(re.compile(each) for each in ("[A-Z]", "[a-z]", "[0-9]", "[^A-Za-z0-9]"))

_ZONES = {
    "UTC": "UTC Etc/UTC",
    "GMT Standard Time": "Europe/London Europe/Dublin Europe/Lisbon",
    "W. Europe Standard Time": "Europe/Berlin Europe/Amsterdam Europe/Zurich Europe/Vienna"
    " Europe/Rome Europe/Stockholm Europe/Oslo Europe/Luxembourg",
    "Romance Standard Time": "Europe/Paris Europe/Brussels Europe/Madrid Europe/Copenhagen",
    "Central European Standard Time": "Europe/Warsaw Europe/Zagreb Europe/Sarajevo Europe/Skopje",
    "Central Europe Standard Time": "Europe/Budapest Europe/Prague Europe/Belgrade"
    " Europe/Bratislava Europe/Ljubljana",
    "GTB Standard Time": "Europe/Athens Europe/Bucharest",
    "FLE Standard Time": "Europe/Helsinki Europe/Kyiv Europe/Kiev Europe/Riga Europe/Sofia"
    " Europe/Tallinn Europe/Vilnius",
    "Turkey Standard Time": "Europe/Istanbul",
    "Russian Standard Time": "Europe/Moscow",
    "Eastern Standard Time": "America/New_York America/Detroit America/Toronto",
    "Central Standard Time": "America/Chicago America/Winnipeg",
    "Mountain Standard Time": "America/Denver America/Edmonton",
    "US Mountain Standard Time": "America/Phoenix",
    "Pacific Standard Time": "America/Los_Angeles America/Vancouver",
    "Alaskan Standard Time": "America/Anchorage",
    "Hawaiian Standard Time": "Pacific/Honolulu",
    "Atlantic Standard Time": "America/Halifax",
    "Newfoundland Standard Time": "America/St_Johns",
    "Central Standard Time (Mexico)": "America/Mexico_City",
    "SA Pacific Standard Time": "America/Bogota America/Lima",
    "Venezuela Standard Time": "America/Caracas",
    "E. South America Standard Time": "America/Sao_Paulo",
    "Argentina Standard Time": "America/Argentina/Buenos_Aires America/Buenos_Aires",
    "Pacific SA Standard Time": "America/Santiago",
    "Tokyo Standard Time": "Asia/Tokyo",
    "Korea Standard Time": "Asia/Seoul",
    "China Standard Time": "Asia/Shanghai Asia/Hong_Kong",
    "Taipei Standard Time": "Asia/Taipei",
    "Singapore Standard Time": "Asia/Singapore Asia/Kuala_Lumpur Asia/Manila",
    "SE Asia Standard Time": "Asia/Bangkok Asia/Ho_Chi_Minh Asia/Jakarta",
    "India Standard Time": "Asia/Kolkata Asia/Calcutta",
    "Pakistan Standard Time": "Asia/Karachi",
    "Bangladesh Standard Time": "Asia/Dhaka",
    "Nepal Standard Time": "Asia/Kathmandu",
    "Iran Standard Time": "Asia/Tehran",
    "Arabian Standard Time": "Asia/Dubai",
    "Arab Standard Time": "Asia/Riyadh",
    "Arabic Standard Time": "Asia/Baghdad",
    "Israel Standard Time": "Asia/Jerusalem",
    "West Asia Standard Time": "Asia/Tashkent",
    "AUS Eastern Standard Time": "Australia/Sydney Australia/Melbourne",
    "E. Australia Standard Time": "Australia/Brisbane",
    "Cen. Australia Standard Time": "Australia/Adelaide",
    "AUS Central Standard Time": "Australia/Darwin",
    "W. Australia Standard Time": "Australia/Perth",
    "Tasmania Standard Time": "Australia/Hobart",
    "New Zealand Standard Time": "Pacific/Auckland",
    "Egypt Standard Time": "Africa/Cairo",
    "South Africa Standard Time": "Africa/Johannesburg",
    "W. Central Africa Standard Time": "Africa/Lagos",
    "E. Africa Standard Time": "Africa/Nairobi",
    "Morocco Standard Time": "Africa/Casablanca",
}
ZONES: Mapping[str, str] = MappingProxyType(
    {name: zone for zone, names in _ZONES.items() for name in names.split()}
)
"""Windows's own name of a time zone, by the name that all other systems have for it."""


def password_name(account: str) -> str:
    """The secret that is the password of a user."""
    return f"PASSWORD_{account.upper().replace('-', '_')}"


def language_tag(locale: str) -> str | None:
    """`de-DE` of `de_DE.UTF-8`; None for what names no language and country."""
    found = _LOCALE.fullmatch(locale)
    return f"{found[1]}-{found[2]}" if found else None


def windows_problems(new: NewTask, hostname: str | None) -> list[FieldProblem]:
    """Everything that a task of Windows asks for and cannot have; empty where there is nothing.

    Args:
        new: a task whose `os_type` is `windows`.
        hostname: the name that it gets, where one could be made.
    """
    return [
        *_name_problems(hostname),
        *_disk_problems(new.disk_layout),
        *_network_problems(new.network_config),
        *_setup_problems(new.setup, hostname),
        *_refused(
            ("method", new.method == "image", "Windows is installed by its installer alone"),
            ("ssh_keys", bool(new.ssh_keys), "Windows may have no SSH server; use setup.commands"),
            ("kernel_arguments", bool(new.kernel_arguments), "Windows has no kernel line"),
        ),
    ]


def _refused(*rows: tuple[str, bool, str]) -> Iterator[FieldProblem]:
    return (FieldProblem(field, text) for field, wrong, text in rows if wrong)


def _name_problems(hostname: str | None) -> Iterator[FieldProblem]:
    short = (hostname or "x").partition(".")[0]
    if len(short) > COMPUTER_NAME_CHARACTERS or short.isdecimal():
        text = f"Windows takes a first label of {COMPUTER_NAME_CHARACTERS} characters, not digits"
        yield FieldProblem("hostname", f"{text} alone; this would be {short}")


def _disk_problems(layout: str | StorageLayout) -> Iterator[FieldProblem]:
    plain = is_one_plain_disk(layout)
    if not plain or (isinstance(layout, StorageLayout) and layout.erase != "signatures"):
        yield FieldProblem("disk_layout", "Windows has one disk with partitions of its own: auto")


def _network_problems(network: str | Network) -> Iterator[FieldProblem]:
    if isinstance(network, str):
        return
    for number, link in enumerate(network.links):
        here = f"network_config.links.{number}"
        if not isinstance(link, Ethernet):
            yield FieldProblem(here, "Windows's answer file makes no bond, bridge or VLAN")
        elif link.mtu is not None:
            yield FieldProblem(f"{here}.mtu", "Windows's answer file sets no MTU")


def _setup_problems(setup: NewSetup, hostname: str | None) -> Iterator[FieldProblem]:
    names = [user.name for user in setup.users]
    zone, locale = setup.timezone, setup.locale
    yield from _refused(
        *(
            (f"setup.{name}", bool(getattr(setup, name)), "is not for Windows; use setup.commands")
            for name in ("packages", "cloud_init", "ansible", "puppet")
        ),
        (
            *("setup.root_password_hash", setup.root_password_hash is not None),
            f"Windows takes no hash: give setup.secrets.{password_name(ADMINISTRATOR)}",
        ),
        (
            *("setup.users", ADMINISTRATOR not in names),
            f"Windows asks for a user {ADMINISTRATOR!r}, whose password it sets",
        ),
        (
            *("setup.timezone", zone is not None and zone not in ZONES),
            "is no time zone whose name at Windows is known here",
        ),
        (
            *("setup.locale", locale is not None and language_tag(locale) is None),
            "Windows takes a language with its country, as de_DE.UTF-8",
        ),
    )
    computer = (hostname or "").partition(".")[0]
    for number, user in enumerate(setup.users):
        yield from _user_problems(user, f"setup.users.{number}", setup.secrets)
        if user.name.casefold() == computer.casefold():
            text = f"is the computer's name too, which Windows refuses: {computer}"
            yield FieldProblem(f"setup.users.{number}.name", text)
    passwords = {password_name(name) for name in names}
    for name, value in setup.secrets.items():
        if name not in passwords:
            yield from _value_problems(name, value)


def _user_problems(
    user: NewAccount, here: str, secrets: Mapping[str, str]
) -> Iterator[FieldProblem]:
    wanted = password_name(user.name)
    long = len(user.name) > ACCOUNT_CHARACTERS
    yield from _refused(
        (f"{here}.name", long, f"Windows takes {ACCOUNT_CHARACTERS} characters"),
        (f"{here}.name", user.name in _BUILT_IN, "is an account that Windows has itself"),
        (f"{here}.ssh_keys", bool(user.ssh_keys), "Windows may have no SSH server"),
        (f"{here}.groups", bool(user.groups), "is not for Windows; use setup.commands"),
        (f"{here}.shell", user.shell != "/bin/bash", "is not for Windows"),
        (
            *(f"{here}.password_hash", user.password_hash is not None),
            f"Windows takes no hash: give setup.secrets.{wanted}",
        ),
        (
            *(f"{here}.sudo", user.sudo == "password"),
            "of Windows is `nopasswd`, for administrators, or nothing",
        ),
    )
    field = f"setup.secrets.{wanted}"
    if wanted not in secrets:
        yield FieldProblem(field, f"is missing: the password of the user {user.name}")
    elif not _is_password(secrets[wanted]):
        least, most = PASSWORD_CHARACTERS
        text = f"must be {least} to {most} ASCII characters, of {PASSWORD_CLASSES} kinds"
        yield FieldProblem(field, text)


def _is_password(text: str) -> bool:
    least, most = PASSWORD_CHARACTERS
    kinds = sum(bool(each.search(text)) for each in _CLASSES)
    return (
        least <= len(text) <= most and bool(_PASSWORD.fullmatch(text)) and kinds >= PASSWORD_CLASSES
    )


def _value_problems(name: str, value: str) -> Iterator[FieldProblem]:
    field = f"setup.secrets.{name}"
    if name.upper() in _OWN_NAMES or name.upper().startswith(COMMANDS_PREFIX):
        yield FieldProblem(field, "is a name that Windows or its installation uses itself")
    if not _VALUE.fullmatch(value) or len(value) > VALUE_CHARACTERS:
        text = f'of Windows is up to {VALUE_CHARACTERS} ASCII characters in one line, without "'
        yield FieldProblem(field, text)
