"""Windows: an answer file for the passes `specialize` and `oobeSystem` of an image that is applied.

The disk, the image and the files are the business of `lpmos.install.winpe`; what stands here is the
machine's name, its network, its language and its users. Passwords stand in it as they are, as
Windows takes no hash of ours: the file goes to the installed disk alone, and is removed there.

Sources: Microsoft's unattended setup reference for the components Microsoft-Windows-Shell-Setup,
-International-Core, -TCPIP and -DNS-Client.
"""

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any

from lpmos.install.answers.family import Answers, Values
from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import xml
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.network import Ethernet, Layout, Link
from lpmos.model.windows import ADMINISTRATOR, ZONES, language_tag, password_name

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
COMPONENT = (
    'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral"'
    ' versionScope="nonSxS" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State"'
)
"""What every component says besides its name."""
TIME_ZONE = "UTC"
ADMINISTRATORS, USERS = "Administrators", "Users"


def values(order: Order) -> Values:
    """See `Answers.values`."""
    windows = order.manifest.windows
    tag = language_tag(order.task.setup.locale or "")
    image_language = windows.language if windows else "en-US"
    short, _, domain = order.task.hostname.partition(".")
    accounts = list(_accounts(order))
    plain = {
        "computer_name": short,
        "domain": domain,
        "timezone": ZONES.get(order.task.setup.timezone or "", TIME_ZONE),
        "language": tag or image_language,
        "ui_language": image_language,
        "interfaces": [_interface(link) for link in _cards(order.network)],
        "name_servers": order.network.dns,
        "search": order.network.search,
        "administrator_password": _password(order, ADMINISTRATOR),
        "accounts": accounts,
    }
    return Values(plain, {"component": COMPONENT})


def _cards(network: Layout) -> Iterator[Ethernet]:
    for link in network.links:
        if not isinstance(link, Ethernet) or link.mac is None:
            text = f"Windows's answer file does not make the link {link.name}"
            raise InvalidInput(FieldProblem("network_config", text))
        yield link


def _interface(link: Ethernet) -> dict[str, Any]:
    """One card, named by its MAC as Windows writes it."""
    return {
        "identifier": (link.mac or "").upper().replace(":", "-"),
        "dhcp": link.dhcp,
        "addresses": [str(ip_interface(text)) for text in link.addresses],
        "routes": list(_routes(link)),
    }


def _routes(link: Link) -> Iterator[dict[str, str]]:
    for gateway in link.gateways:
        yield {"to": EVERYWHERE[ip_interface(gateway).version], "via": gateway}
    for route in link.routes:
        yield {"to": route.to, "via": route.via}


def _accounts(order: Order) -> Iterator[dict[str, str]]:
    for user in order.task.setup.users:
        if user.name != ADMINISTRATOR:
            group = ADMINISTRATORS if user.sudo else USERS
            yield {"name": user.name, "group": group, "password": _password(order, user.name)}


def _password(order: Order, account: str) -> str:
    name = password_name(account)
    if name not in order.secrets.values:
        raise InvalidInput(FieldProblem(f"setup.secrets.{name}", "is missing"))
    return order.secrets.values[name]


ANSWERS = Answers(
    family="windows",
    template="installer.unattend",
    file="unattend.xml.j2",
    encode=xml,
    values=values,
    releases=(("windows", "server-2022"), ("windows", "server-2025"), ("windows", "11")),
    whole_disk=True,
)
