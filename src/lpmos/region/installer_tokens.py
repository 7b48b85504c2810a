"""Who an installer is: a token in its kernel line, for this one install of this one machine.

The rule: the token is signed by a client of this region and names the task, its single-use intent
and the address at which the machine was approved. It is worth nothing until that intent was
claimed, and nothing once the task is over; who shows it has to be where the machine is. No token is
kept anywhere: each client of the region checks it, also after a failover and without the store.
"""

import hashlib
from collections.abc import Callable

import msgspec

from lpmos.core.agentrun import AgentRun
from lpmos.model.errors import Conflict, LpmosError, NotFound, Unauthenticated
from lpmos.model.lifecycle import Status
from lpmos.model.network import layout
from lpmos.model.task import Task
from lpmos.region.signing import BadToken, Signer, Signers
from lpmos.store.api import Unavailable

_KIND = "installer"


class InstallerRefused(Unauthenticated):
    """A caller that is not the installer it says it is."""

    code = "installer-identity"


class InstallOver(Conflict):
    """The install that the token was made for is not, or no longer, under way."""

    code = "install-over"


class InstallerToken(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a token says."""

    task_id: str
    intent_id: str
    mac: str
    address: str


class Caller(msgspec.Struct, frozen=True):
    """Who calls: its task as it is known here, and the agent run that claimed the install."""

    task: Task
    run: AgentRun


class InstallerTokens:
    """Makes and checks the tokens of one region."""

    def __init__(
        self,
        signer: Signer,
        signers: Signers,
        find_task: Callable[[str], Task | None],
        lease_holder: Callable[[str], str | None],
        connected: Callable[[], bool],
    ) -> None:
        """`find_task` knows the region's tasks, as far as it is `connected`; `lease_holder` which
        MAC has an address of its DHCP.
        """
        self._signer = signer
        self._signers = signers
        self._find_task = find_task
        self._lease_holder = lease_holder
        self._connected = connected

    def token(self, task: Task, address: str) -> str:
        """The token for an approved task's installer; `address` is the machine's.

        Raises:
            Conflict: the task is not approved.
        """
        if task.intent is None:
            raise Conflict(f"task {task.task_id} is {task.status.value}: it is not approved")
        said = InstallerToken(task.task_id, task.intent.intent_id, task.mac, address)
        return self._signer.sign(_KIND, msgspec.json.encode(said))

    def caller(self, token: str, address: str) -> Caller:
        """Who shows this token from this address.

        Raises:
            InstallerRefused: it is none of this region's, or shown from elsewhere.
            InstallOver: its install has not begun, or is over.
            NotFound: its task is gone.
            Unavailable: the store is away and the task is not known here.
        """
        try:
            said = msgspec.json.decode(self._signers.verify(_KIND, token), type=InstallerToken)
        except (BadToken, msgspec.DecodeError):
            raise InstallerRefused("this is no token of an installer of this region") from None
        task = self._find_task(said.task_id)
        if task is None:
            raise self._unknown(said)
        if not self._is_its(said, task, address):
            raise InstallerRefused(
                f"this token is for the installer of {said.mac}, which is not at {address}"
            )
        intent = task.intent
        claimed_by = intent.claimed_by if intent and intent.intent_id == said.intent_id else None
        if task.status is not Status.INSTALLING or claimed_by is None:
            raise InstallOver(
                f"task {task.task_id} is {task.status.value}: this install is not under way"
            )
        return Caller(task, AgentRun(mac=said.mac, agent_id=claimed_by))

    def _is_its(self, said: InstallerToken, task: Task, address: str) -> bool:
        """Whether the machine is there: where its agent was, by its lease, or as the task says.

        An installer may name itself to DHCP as its agent did not, and get another address.
        """
        links = layout(task.network_config, task.mac).links
        own = {each.partition("/")[0] for link in links for each in link.addresses}
        return address in {said.address, *own} or self._lease_holder(address) == said.mac

    def _unknown(self, said: InstallerToken) -> LpmosError:
        if not self._connected():
            return Unavailable("the store is away and this task is not known here yet")
        return NotFound(f"there is no task {said.task_id[:64]}")


def first_boot_token(token: str) -> str:
    """The secret by which the system says that it came up, which this installer's installs.

    It follows from the installer's own token, so each client of the region knows it; nobody can
    tell that one from it.
    """
    return hashlib.sha256(f"first boot\0{token}".encode()).hexdigest()
