"""What a regional client has still to fetch of the control plane's images, as it says itself.

Lists are bounded, so that the document stays small whatever a source lists: `more` counts the rest.
"""

from datetime import datetime

import msgspec

NAMED = 20
"""How many items are named one by one."""
MEGABYTE = 1_000_000


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """An item that is not there yet: `done_bytes` of `size_bytes` are.

    `kind` is `agent`, `image` or `installer`, or what a later version knows. `error` is why the
    last try ended, with what to do. The agent has no OS.
    """

    kind: str
    name: str
    size_bytes: int
    done_bytes: int = 0
    os_type: str | None = None
    os_version: str | None = None
    error: str | None = None

    @property
    def progress(self) -> str:
        """How much of it is there, for people."""
        return f"{self.done_bytes / MEGABYTE:.1f} of {self.size_bytes / MEGABYTE:.1f} MB"


class Fetching(msgspec.Struct, frozen=True, kw_only=True):
    """How a client's copy of its source stands.

    `source` is the control plane's URL, `listed_at` when its list was read last. `current` is the
    name of what arrives now, at `rate_bytes_per_s`; `arriving` are all that are not there yet, in
    the order in which they are fetched. `error` is why nothing can be fetched at all. `own` are
    items that somebody put here by hand and that differ from the source's: they stay as they are.
    """

    source: str
    listed_at: datetime | None = None
    current: str | None = None
    rate_bytes_per_s: int = 0
    arriving: tuple[Arrival, ...] = ()
    more: int = 0
    error: str | None = None
    own: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """What keeps it from having all; the first of several."""
        return self.error or next((each.error for each in self.arriving if each.error), None)


def coming(
    fetching: Fetching | None, os_type: str | None, os_version: str | None
) -> Arrival | None:
    """The first item that is on its way and of this OS; a name that is None is any."""
    if fetching is None:
        return None
    for each in fetching.arriving:
        of_type = os_type in (None, each.os_type)
        if each.os_type is not None and of_type and os_version in (None, each.os_version):
            return each
    return None
