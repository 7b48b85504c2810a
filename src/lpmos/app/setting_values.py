"""How the text of a setting becomes its value.

Each parser raises ValueError with what the text should be.
"""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from lpmos.model.access import Role
from lpmos.model.bootplan import UnknownMachines


def dhcp_networks(text: str) -> object:
    """The networks that a region gives addresses of; see `region.dhcp_networks`."""
    from lpmos.region.dhcp_networks import parsed_networks  # only who names networks pays for it

    return parsed_networks(text)


def port(text: str) -> int:
    """A TCP port."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:6]) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return int(text)


def words(text: str) -> tuple[str, ...]:
    """Words between commas; empty ones are left out."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def choice(*names: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return text

    return parse


def whole(least: int, most: int, unit: str = "") -> Callable[[str], int]:
    """A whole number in decimal digits, of these bounds; `unit` is for the message."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            raise ValueError(f"a whole number{unit} from {least} to {most}")
        return int(text)

    return parse


def backup_target(text: str) -> str:
    """Where backups go: a URL without credentials."""
    parts = urlsplit(text)
    local = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    remote = parts.scheme in ("s3", "gs", "az") and parts.netloc and "@" not in parts.netloc
    if not (local or remote) or parts.query or parts.fragment:
        raise ValueError(
            "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY,"
            " without credentials: those stand in the environment"
        )
    return text.rstrip("/")


def public_url(text: str) -> str:
    """The URL that people use."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL as https://lpmos.example.com")
    return text.rstrip("/")


def issuer(text: str) -> str:
    """An OIDC provider's issuer, as it stands in its tokens."""
    parts = urlsplit(text)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    allowed = ("https", "http") if local else ("https",)
    if parts.scheme not in allowed or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an https URL as the provider writes it: https://sso.example.com/realms/x")
    return text


def images_url(text: str) -> str:
    """A control plane that images are fetched from: agent and installers rest on TLS alone."""
    parts = urlsplit(text)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    allowed = ("https", "http") if local else ("https",)
    wrong = parts.scheme not in allowed or not parts.hostname or "@" in parts.netloc
    if wrong or parts.query or parts.fragment:
        raise ValueError("an https URL as https://lpmos.example.com, without user and password")
    return text.rstrip("/")


def role_mapping(text: str) -> tuple[tuple[str, Role], ...]:
    """Which group has which role."""
    pairs = [[part.strip() for part in word.rpartition("=")] for word in words(text)]
    if not all(group and role in [*Role] for group, _, role in pairs):
        raise ValueError(f"pairs as lpmos-admins=admin,noc=operator; roles: {', '.join(Role)}")
    return tuple((group, Role(role)) for group, _, role in pairs)


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP networks between commas."""
    return tuple(ip_network(word) for word in words(text))


def yes_or_no(text: str) -> bool:
    """yes or no."""
    return choice("yes", "no")(text) == "yes"


def unknown_machines(text: str) -> UnknownMachines:
    """What a machine without a task boots."""
    return UnknownMachines(choice(*UnknownMachines)(text))


RATE = whole(0, 1_000_000)
DAYS = whole(1, 36_500, " of days")
SECONDS = whole(0, 31_536_000, " of seconds")
HOURS = whole(0, 8_760, " of hours")
TRIES = whole(0, 100)
LIMIT = whole(1, 1_000_000)
