"""Who an agent is (X3): a nonce in its boot script, taken once for an identity of its own.

The rule: every word of a nonce and of an identity is signed, and what they are bound to is compared
with who shows them, each time. What was shown is never logged; what is refused is, with the reason.

    boot script ── nonce: MAC, address, time ──▶ agent run ── identity: MAC, run, address, task

A nonce is good for one agent run. An identity without a task ends by itself and is renewed while it
is used; with the report it is bound to the task, for good, and is good for as long as that is not
over: the task has deadlines of its own, and no clock of a region ends an install.
"""

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

from lpmos.core.agentrun import AgentRun
from lpmos.core.clock import Clock
from lpmos.model.errors import Unauthenticated
from lpmos.region.signing import BadToken, Signer, Signers
from lpmos.region.taken import Ledger

NONCE_LIFE_S = 600
"""From the boot script to the agent's first call: the download of the agent and its start."""

IDENTITY_LIFE_S = 3600
"""Of an agent without a task, which calls every minute."""

BOUND_LIFE_S = 12 * 3600
"""Of an agent whose task is over, or not known here: it may still hear so."""

_NONCE, _IDENTITY = "nonce", "identity"
Reason = Literal[
    "none",
    "expired",
    "nonce expired",
    "nonce used",
    "no report",
    "other MAC",
    "other run",
    "other task",
    "other address",
    "unknown nonce",
    "unknown identity",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a caller may be refused, as counters name it."""
_SALT_BYTES = 12
_SESSION_CHARACTERS = 32


class AgentRefused(Unauthenticated):
    """A caller without a valid identity; `reason` is a word for counters, `hint` for operators."""

    code = "agent-identity"

    def __init__(self, reason: Reason, text: str, hint: str) -> None:
        self.reason: Reason = reason
        self.hint = hint
        super().__init__(text)


class Nonce(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a boot script's nonce says; `issued_at` in seconds since 1970."""

    mac: str
    address: str
    issued_at: int
    salt: str


class Identity(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who an agent run is; `session` is one for each nonce, `expires_at` in seconds since 1970."""

    mac: str
    agent_id: str
    address: str
    session: str
    expires_at: int
    task_id: str | None = None

    @property
    def run(self) -> AgentRun:
        """The agent run."""
        return AgentRun(mac=self.mac, agent_id=self.agent_id)

    @property
    def life_s(self) -> int:
        """How long a new one of its kind lives."""
        return BOUND_LIFE_S if self.task_id else IDENTITY_LIFE_S

    @property
    def expires(self) -> datetime:
        """Until when it is good."""
        return datetime.fromtimestamp(self.expires_at, UTC)


class Identities:
    """Gives and checks nonces and identities of one region."""

    def __init__(
        self,
        signer: Signer,
        signers: Signers,
        taken: Ledger,
        clock: Clock,
        under_way: Callable[[str], bool],
    ) -> None:
        """`under_way` says of a task whether it is known here, and not over."""
        self._under_way = under_way
        self._signer = signer
        self._signers = signers
        self._taken = taken
        self._clock = clock

    def nonce(self, mac: str, address: str) -> str:
        """A nonce for the machine with this MAC that asks from this address."""
        nonce = Nonce(mac, address, int(self._now_s()), os.urandom(_SALT_BYTES).hex())
        return self._signer.sign(_NONCE, msgspec.json.encode(nonce))

    async def exchange(self, token: str, run: AgentRun, address: str) -> Identity:
        """The identity that this run has for the nonce; the same for the same run.

        Raises:
            AgentRefused: the nonce is none, too old, of another machine, or another run took it.
            Unavailable, NoSpace: that it was taken could not be kept.
        """
        nonce = self._nonce_of(token)
        _check_place("nonce", (nonce.mac, nonce.address), run.mac, address)
        name = hashlib.sha256(token.encode()).hexdigest()[:_SESSION_CHARACTERS]
        known = self._taken.holder(f"nonce-{name}")
        if known is None and abs(self._now_s() - nonce.issued_at) > NONCE_LIFE_S:
            raise AgentRefused(
                "nonce expired",
                f"the boot script's nonce is older than {NONCE_LIFE_S // 60} minutes; boot again",
                "the machine was too slow, or its nonce was kept by somebody; it boots once more",
            )
        until = datetime.fromtimestamp(nonce.issued_at + IDENTITY_LIFE_S, UTC)
        taken = await self._taken.take(f"nonce-{name}", run.agent_id, until)
        if taken.holder != run.agent_id:
            raise AgentRefused(
                "nonce used",
                "the boot script's nonce was used before, by another agent run; boot again",
                "two agents had the same boot script: one of them read it on the wire, or in the"
                " machine; find out which, and boot the right one again",
            )
        expires_at = int(taken.at.timestamp()) + IDENTITY_LIFE_S
        return Identity(run.mac, run.agent_id, address, name, expires_at)

    def identity_of(self, token: str, address: str) -> Identity:
        """Whose token this is.

        Raises:
            AgentRefused: it is none, has ended, or is shown from another address.
        """
        try:
            payload = self._signers.verify(_IDENTITY, token)
            identity = msgspec.json.decode(payload, type=Identity)
        except (BadToken, msgspec.DecodeError):
            raise _unknown("unknown identity") from None
        if identity.expires_at <= self._now_s() and not self._installs(identity):
            raise AgentRefused(
                "expired",
                "the agent's identity has ended; boot again",
                "an agent without a task whose region was away for too long boots again; a clock of"
                " the region that was set forward does the same",
            )
        _check_place("identity", (identity.mac, identity.address), identity.mac, address)
        return identity

    def task_of(self, identity: Identity) -> str | None:
        """The task that this run is bound to, also where the token was given before."""
        if identity.task_id is not None:
            return identity.task_id
        taken = self._taken.holder(f"task-{identity.session}")
        return taken.holder if taken else None

    async def bound(self, identity: Identity, task_id: str) -> Identity:
        """The identity of the same run for this task, and for no other from now on.

        Raises:
            AgentRefused: the run has another task.
            Unavailable, NoSpace: that could not be kept.
        """
        if identity.task_id is None:
            until = datetime.fromtimestamp(self._now_s() + IDENTITY_LIFE_S, UTC)
            taken = await self._taken.take(f"task-{identity.session}", task_id, until)
            identity = msgspec.structs.replace(identity, task_id=taken.holder)
        check_task(identity.task_id, task_id)
        return self.renewed(identity)

    def renewed(self, identity: Identity) -> Identity:
        """The same with its whole life before it."""
        expires_at = int(self._now_s()) + identity.life_s
        return msgspec.structs.replace(identity, expires_at=expires_at)

    def is_due(self, identity: Identity) -> bool:
        """Whether more than half of its life is over."""
        return identity.expires_at - self._now_s() < identity.life_s / 2

    def token(self, identity: Identity) -> str:
        """The identity, signed."""
        return self._signer.sign(_IDENTITY, msgspec.json.encode(identity))

    def _installs(self, identity: Identity) -> bool:
        task_id = self.task_of(identity)
        return task_id is not None and self._under_way(task_id)

    def _nonce_of(self, token: str) -> Nonce:
        try:
            return msgspec.json.decode(self._signers.verify(_NONCE, token), type=Nonce)
        except (BadToken, msgspec.DecodeError):
            raise _unknown("unknown nonce") from None

    def _now_s(self) -> float:
        return self._clock().timestamp()


def check_task(bound: str | None, asked: str | None) -> None:
    """Make sure that an identity is that of the task which is asked for.

    Raises:
        AgentRefused: it is not.
    """
    if bound is None:
        raise AgentRefused(
            "no report",
            "this agent has no task yet: it reports its hardware first",
            "an identity without a report was used for a task: nothing of LPMOS does that",
        )
    if bound != asked:
        raise AgentRefused(
            "other task",
            "the agent's identity is for another task; boot again",
            "an identity of one task was used for another one: look at what the machine runs",
        )


def _check_place(what: str, given_to: tuple[str, str], said_mac: str, said_address: str) -> None:
    mac, address = given_to
    if mac != said_mac:
        raise AgentRefused(
            "other MAC",
            f"this {what} was given to another machine, {mac}; boot this one from the network",
            "a machine used what was given to another one's MAC: look who is at this address",
        )
    if address != said_address:
        raise AgentRefused(
            "other address",
            f"this {what} was given to {mac} at the address {address}, and shown from"
            f" {said_address}; have DHCP give the machine one address, and boot again",
            "either it was stolen, or the machine's address changes between firmware and agent:"
            ' give each machine one address (docs: agent-tls, "If agents are refused")',
        )


def _unknown(reason: Literal["unknown nonce", "unknown identity"]) -> AgentRefused:
    what = reason.removeprefix("unknown ")
    return AgentRefused(
        reason,
        f"this {what} was not given by a client of this region, or its key was removed; boot again",
        "it is made up, from another region, or signed with a key that the store does not have",
    )
