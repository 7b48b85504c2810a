"""The last sign of each layer of one machine's way from power-on to its agent, as a region saw it.

It says what happened, not what was wanted: that a packet came, that a file went out whole. What it
means is decided by `lpmos.model.explain`.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from lpmos.model.boot import Boot

DETAIL_CHARACTERS = 120
"""What is kept of a sign's words; some of them are a machine's own."""
WAIT = "wait: "
"""What a `script` begins with that lets a machine ask again; why it has to follows."""
ANOTHER_MACHINE = "report: it is another machine's"
"""The `refused` report of a machine that is not the one which reported for the task before."""
OVERLAP = timedelta(seconds=3)
"""Several programs tell of one boot: what is seen later may have been so much earlier."""


class Sign(msgspec.Struct, frozen=True, omit_defaults=True):
    """That something was seen, last at `at`.

    Of a request for an address `by` says that firmware or iPXE made it; `proxy`: in a network
    whose addresses another DHCP server gives. None: a system did, or that is not known.
    """

    at: datetime
    detail: str = ""
    by: Literal["netboot", "proxy"] | None = None


class Transfer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that a machine asked for at `at`; `done_at` is None until all of it had gone out."""

    at: datetime
    size_bytes: int
    done_at: datetime | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of one machine, by its MAC; None: nothing.

    `asked` is its newest DHCP request, `given` the newest address that it got (`detail`). `loader`
    is the boot loader that was sent, `entry` the script that iPXE begins with, `script` what the
    machine was told to do. `agent` is the newest call of its agent that is not said by the task
    already, `refused` the newest one that was refused. `boot` has when each came first in the boot
    under way.
    """

    mac: str
    asked: Sign | None = None
    given: Sign | None = None
    loader: Sign | None = None
    entry: Sign | None = None
    script: Sign | None = None
    kernel: Transfer | None = None
    initramfs: Transfer | None = None
    agent: Sign | None = None
    refused: Sign | None = None
    boot: Boot = Boot()

    def since(self, moment: datetime) -> "Evidence":
        """What of it was seen from `moment` on; its boot may have begun before."""
        signs = {
            name: sign
            for name in self.__struct_fields__
            if isinstance(sign := getattr(self, name), Sign | Transfer) and sign.at >= moment
        }
        return msgspec.structs.replace(Evidence(mac=self.mac, boot=self.boot), **signs)

    def until(self, layer: str, at: datetime) -> "Evidence":
        """It without what comes after `layer` on the way: of a boot that has got there only `at`.

        What was seen so far on until now is of the boot before.
        """
        later = LAYERS[LAYERS.index(layer) + 1 :]
        old = {
            name: None
            for name in later
            if (sign := getattr(self, name)) and _newest_of(sign) < at - OVERLAP
        }
        return msgspec.structs.replace(self, **old)

    @property
    def newest(self) -> datetime | None:
        """When something was seen last."""
        seen = (getattr(self, name) for name in LAYERS)
        return max((_newest_of(sign) for sign in seen if sign), default=None)


LAYERS = tuple(name for name in Evidence.__struct_fields__ if name not in ("mac", "boot"))
"""In the order of a boot."""


def _newest_of(sign: Sign | Transfer) -> datetime:
    return (sign.done_at if isinstance(sign, Transfer) else None) or sign.at
