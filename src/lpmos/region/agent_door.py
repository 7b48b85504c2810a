"""How agents come in, put together: keys, nonces, identities, and TLS where it is configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.region.admission import Admission
from lpmos.region.agent_gate import AgentGate
from lpmos.region.identities import Identities
from lpmos.region.lease_holders import LeaseHolders
from lpmos.region.metrics import Metrics
from lpmos.region.reached import served_addresses
from lpmos.region.settings import RegionSettings
from lpmos.region.signing import FILE_NAME, Signer, Signers
from lpmos.region.taken import Ledger, ledger
from lpmos.region.tls import AgentTls, load
from lpmos.store.api import Store


class Door(msgspec.Struct, frozen=True):
    """The parts that others use."""

    gate: AgentGate
    admission: Admission
    signer: Signer
    signers: Signers
    taken: Ledger


async def agent_tls(settings: RegionSettings, clock: Clock) -> AgentTls | None:
    """TLS as it is configured, checked; None where it is not.

    Raises:
        SettingsError: a file cannot be used.
    """
    if settings.agent_tls is None:
        return None
    address = settings.service_address or settings.address
    also = served_addresses(settings.dhcp, version=6)
    networks = settings.dhcp.networks if settings.dhcp else ()
    needed = {each.address6 for each in networks if each.ipv6_only and each.address6}
    return await asyncio.to_thread(load, settings.agent_tls, address, clock(), also, needed)


@asynccontextmanager
async def agent_door(
    settings: RegionSettings,
    store: Store,
    fleet: Fleet,
    clock: Clock,
    metrics: Metrics,
    *,
    tls: AgentTls | None,
    tls_port: int | None,
) -> AsyncIterator[Door]:
    """The door of one client of a region, on its state directory.

    Raises:
        SettingsError: a file of the state directory cannot be used.
    """
    idc = settings.idc
    signer = await asyncio.to_thread(Signer.load, settings.state_dir / FILE_NAME, settings.identity)
    signers = Signers(signer, fleet.stored, idc=idc)
    connected = lambda: fleet.connected  # noqa: E731 - asked anew each time

    def under_way(task_id: str) -> bool:
        row = fleet.row(task_id)
        return row is not None and not row.finished

    async with ledger(
        store, fleet.stored, connected, clock, idc=idc, state_dir=settings.state_dir
    ) as taken:
        identities = Identities(signer, signers, taken, clock, under_way)
        gate = AgentGate(
            identities,
            fleet,
            metrics,
            idc=idc,
            required=settings.agent_identity == "required",
            tls_port=tls_port,
        )
        holders = LeaseHolders(settings.lease_file)
        admission = Admission(identities, holders.holder, tls=tls, tls_port=tls_port)
        yield Door(gate, admission, signer, signers, taken)
