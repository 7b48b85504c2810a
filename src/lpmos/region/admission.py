"""What a boot script tells an agent of how to come in: where to call, the nonce, the CA.

The rule: where this region gives addresses itself, only the machine that has an address gets a
nonce for it. Who asks in another machine's name from an address of its own gets none; over IPv6,
where a machine has several, it gets one that is good from the other machine's own address alone.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from lpmos.model.errors import LpmosError
from lpmos.region.identities import Identities
from lpmos.region.scripts import AgentCall
from lpmos.region.slaac import own_address
from lpmos.region.tls import AgentTls

LeaseHolder = Callable[[str], str | None]
"""The MAC of the machine that has an address, by its lease or by how it is made."""


class AddressTaken(LpmosError):
    """A boot script was asked for from an address that another machine has, `holder`."""

    code = "address-taken"

    def __init__(self, address: str, holder: str) -> None:
        self.holder = holder
        super().__init__(
            f"the address {address} is another machine's ({holder}), so this one waits;"
            " look for two machines with one address, or with one MAC"
        )


class Admission:
    """Makes `AgentCall`s."""

    def __init__(
        self,
        identities: Identities,
        lease_holder: LeaseHolder,
        *,
        tls: AgentTls | None,
        tls_port: int | None,
    ) -> None:
        self._identities = identities
        self._lease_holder = lease_holder
        self._tls = tls
        self._tls_port = tls_port

    @property
    def ca_pem(self) -> str | None:
        """The CA that agents trust; None without TLS."""
        return self._tls.ca_pem if self._tls else None

    def holder(self, address: str) -> str | None:
        """The MAC of the machine that has this address."""
        return self._lease_holder(address)

    def check(self, mac: str, address: str) -> None:
        """Make sure that a machine asks from an address that is not leased to another.

        Raises:
            AddressTaken: it is.
        """
        holder = self._lease_holder(address)
        if holder is not None and holder != mac:
            raise AddressTaken(address, holder)

    def call(self, mac: str, address: str, base_url: str) -> AgentCall:
        """How the agent of this machine calls the region, if it asks from its own address.

        Args:
            mac: the machine.
            address: from which it asks.
            base_url: at which it asks.

        Raises:
            AddressTaken: the address is another machine's.
        """
        self.check(mac, address)
        nonce = self._identities.nonce(mac, own_address(mac, address))
        if self._tls is None:
            return AgentCall(base_url, nonce)
        host = urlsplit(base_url).netloc.rpartition(":")[0]
        return AgentCall(f"https://{host}:{self._tls_port}", nonce, self._tls.ca_sha256)
