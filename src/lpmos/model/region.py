"""A region: what its active client says of itself (S6)."""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.model.image import OfferedOs


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Bound to a lease: while it is there, the region is online."""

    idc: str
    identity: str
    at: datetime
    services: dict[str, str]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What the region can install; it stays while the region is away."""

    idc: str
    offered: tuple[OfferedOs, ...]
    services: tuple[str, ...]
    version: str
    updated_at: datetime


class RegionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the region said last of itself; the heartbeat says whether it still lives."""

    idc: str
    status: Literal["online", "offline"]
    at: datetime
