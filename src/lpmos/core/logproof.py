"""Who may read the logs of tasks at a region: control planes, by what they sign.

All control planes have one Ed25519 key (RFC 8032), derived from the key of their tokens; its public
half stands among the keys of each region, so nothing in the store is secret. A proof is a JWT
(RFC 7519) for the log of one task of one region, and lasts for minutes. The rule: a region that
knows a control plane's key gives a log to nobody without a proof. Where the store has none, all
control planes are older than that, and are answered as they were; that it has none is known only
once it was listed.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.model.errors import Unauthenticated
from lpmos.store import keys, records
from lpmos.store.api import KV, Leadership, Put, Store, StoreError, Unavailable

ALGORITHM = "EdDSA"
LIFETIME = timedelta(minutes=5)
CLOCKS_APART_S = 300
"""So far may a region's clock be from that of its control plane."""

PUBLISH_S = 2.0
"""How often it is looked for regions that do not have the key yet."""

REFUSED = "the log is for control planes, which show that they are: ask one of them for it"

log = structlog.get_logger()


class LogReader(msgspec.Struct, frozen=True):
    """The public key of a region's control planes, in hex, as it stands in the store."""

    public: str


class LogProofs:
    """The proofs of the control planes."""

    def __init__(self, seed: bytes, clock: Clock) -> None:
        """`seed` has 32 bytes, the same at each of them."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._clock = clock
        self.reader = LogReader(self._private.public_key().public_bytes_raw().hex())

    def proof(self, idc: str, task_id: str) -> str:
        """What a region is to be shown for this log."""
        claims = {"sub": task_id, "aud": _audience(idc), "exp": self._clock() + LIFETIME}
        return jwt.encode(claims, self._private, ALGORITHM)


class LogReaders:
    """Whom a region lets read its logs."""

    def __init__(
        self,
        stored: Callable[[str], KV | None],
        clock: Clock,
        *,
        idc: str,
        listed: Callable[[], bool],
    ) -> None:
        """`stored` gives a key of the store as it is known here; `listed` says whether a key that
        is not known here is not in the store either.
        """
        self._stored = stored
        self._listed = listed
        self._clock = clock
        self._idc = idc

    def check(self, task_id: str, authorization: str | None) -> None:
        """Let somebody read the log of a task; `authorization` is the header of the call.

        Raises:
            Unauthenticated: it is no proof of a control plane's for this log.
            Unavailable: whether a proof is needed is not known before the store is.
        """
        kv = self._stored(keys.log_reader(self._idc))
        if kv is None:
            if not self._listed():
                raise Unavailable("the region does not know yet who may read its logs; ask again")
            return
        scheme, _, proof = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(REFUSED)
        try:
            claims = jwt.decode(
                proof.strip(),
                _public(kv),
                algorithms=[ALGORITHM],
                audience=_audience(self._idc),
                options={"require": ["sub", "aud", "exp"], "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            raise Unauthenticated(REFUSED) from None
        ends_s = claims["exp"]
        if not isinstance(ends_s, int) or claims["sub"] != task_id:
            raise Unauthenticated(REFUSED)
        lasts_s = LIFETIME.total_seconds()
        age_s = self._clock().timestamp() - ends_s + lasts_s
        if not -CLOCKS_APART_S <= age_s <= lasts_s + CLOCKS_APART_S:
            raise Unauthenticated(
                "the proof is not of this time: compare the clocks of the region and of the"
                " control plane"
            )


class LogReaderDuty:
    """Writes the key to every region that has another or none."""

    def __init__(self, store: Store, fleet: Fleet, reader: LogReader) -> None:
        self._store = store
        self._fleet = fleet
        self._value = records.encode(reader)

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled."""
        while True:
            for region in self._fleet.regions():
                await self._publish(leadership, region.idc)
            await asyncio.sleep(PUBLISH_S)

    async def _publish(self, leadership: Leadership, idc: str) -> None:
        key = keys.log_reader(idc)
        known = self._fleet.stored(key)
        if known is not None and known.value == self._value:
            return
        try:
            await self._store.txn(leadership.fence, [Put(key, self._value)])
        except StoreError as error:
            log.info("a region does not know the key of its logs yet", idc=idc, reason=str(error))


def _public(kv: KV) -> Ed25519PublicKey:
    try:
        raw = bytes.fromhex(records.decode(kv, LogReader).public)
        return Ed25519PublicKey.from_public_bytes(raw)
    except (records.DamagedRecord, ValueError):
        raise Unauthenticated("the key of the control planes is damaged in the store") from None


def _audience(idc: str) -> str:
    return f"lpmos log {idc}"
