"""What a client of the WebSocket asks to hear, and what of it it may (W4, X8)."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated

import msgspec

from lpmos.control.live.messages import OF_NAMED, PERMISSION, Kind, Told
from lpmos.model.access import Principal, permits, sees

MAX_REGIONS = 100
MAX_TASKS = 200
MAX_REVISION = (1 << 63) - 1
WISHES_KEPT = 2000

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Regions = Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1, max_length=MAX_REGIONS)]
_Tasks = Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1, max_length=MAX_TASKS)]
_Kinds = Annotated[tuple[Kind, ...], msgspec.Meta(min_length=1, max_length=len(PERMISSION))]


class Subscription(
    msgspec.Struct, frozen=True, tag="subscribe", tag_field="type", forbid_unknown_fields=True
):
    """What a client wants to hear; None is everything but for `OF_NAMED`: those are of named tasks.

    `batch`: arrays of messages, not single ones. `from_revision`: first what came after it.
    """

    idc: _Name | _Regions | None = None
    task_id: _Name | _Tasks | None = None
    types: _Kinds | None = None
    batch: bool = False
    from_revision: Annotated[int, msgspec.Meta(ge=0, le=MAX_REVISION)] | None = None


class Wish(msgspec.Struct, frozen=True):
    """What one client hears: its subscription within what its principal may see.

    Clients with equal wishes share every batch.
    """

    kinds: frozenset[str]
    regions: frozenset[str] | None
    tasks: frozenset[str] | None
    tenant: str | None
    batch: bool

    @property
    def followed(self) -> frozenset[str]:
        """The tasks of which `OF_NAMED` are wanted."""
        return self.tasks if self.tasks and self.kinds & OF_NAMED else frozenset()

    def wants(self, told: Told) -> bool:
        """Whether this message goes to the client."""
        return (
            told.kind in self.kinds
            and (self.regions is None or told.idc in self.regions)
            and (self.tasks is None or told.task_id in self.tasks)
            and (told.kind == "region" or sees(self.tenant, told.tenant))
        )


def wish(subscription: Subscription, principal: Principal) -> Wish:
    """What a client of this principal hears by this subscription; equal ones are one object."""
    asked: Iterable[str] = subscription.types or PERMISSION
    if subscription.types is None or subscription.task_id is None:
        asked = set(asked) - OF_NAMED
    may = (kind for kind in asked if permits(principal.roles, principal.tenant, PERMISSION[kind]))
    found = Wish(
        kinds=frozenset(may),
        regions=_names(subscription.idc),
        tasks=_names(subscription.task_id),
        tenant=principal.tenant,
        batch=subscription.batch,
    )
    return _one(found)


@lru_cache(maxsize=WISHES_KEPT)
def _one(wish: Wish) -> Wish:
    """The first that was equal: a batch is found by it 40 times a second for each client."""
    return wish


def _names(asked: str | tuple[str, ...] | None) -> frozenset[str] | None:
    if asked is None:
        return None
    return frozenset((asked,) if isinstance(asked, str) else asked)
