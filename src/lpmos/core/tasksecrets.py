"""What is secret of a machine's last task: sealed beside it, opened by its region for its plan.

The rule: a sealed part belongs to a machine, written in the transaction that makes its task, and
gone when that task is completed; a task that is tried again finds it there. It is opened where the
plan of an approved task is made, and what was opened is written nowhere.
"""

from collections.abc import Awaitable, Callable

import msgspec

from lpmos.core.secrets.box import SealedFields, SecretBox, context
from lpmos.core.secrets.keyring import KeyRing, KeysAway
from lpmos.model.errors import DamagedSecret, SecretError, SettingsError, UnknownKey
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import KV, Put, Unavailable

FIELD = "sealed"
SEALED = SealedFields(keys.task_secrets("{idc}"), (FIELD,))


class SealedPart(msgspec.Struct, frozen=True, kw_only=True):
    """The document: a `TaskSecrets` as JSON, sealed."""

    sealed: str


class NoSecrets(SecretError):
    """The sealed part of a task is not there."""

    code = "no-secrets"


def put_sealed(key: str, secrets: TaskSecrets, box: SecretBox) -> Put:
    """The operation that makes this the sealed part at a key of `keys.task_secrets`.

    Raises:
        UnknownKey: the box has no key to seal with.
    """
    text = msgspec.json.encode(secrets).decode()
    return Put(key, records.encode(SealedPart(sealed=box.seal(text, context(key, FIELD)))))


ReadRing = Callable[[], Awaitable[KeyRing]]


async def no_ring() -> KeyRing:
    """The keys of a part that was given none.

    Raises:
        SettingsError: says how it is given them.
    """
    raise SettingsError("the keys of secrets are not here (--secrets-key-file, or Vault)")


class TaskSecretReader:
    """Opens the sealed parts of one region's tasks; its keys are read when one is needed first."""

    def __init__(
        self,
        stored: Callable[[str], KV | None],
        read_ring: ReadRing,
        connected: Callable[[], bool] = lambda: True,
    ) -> None:
        """`stored` gives a key of the store as it is known here, `read_ring` reads the keys.

        Where nothing is heard of the store (`connected`), what is not known here may be there.
        """
        self._stored = stored
        self._connected = connected
        self._read_ring = read_ring
        self._box: SecretBox | None = None

    async def opened(self, task: Task) -> TaskSecrets:
        """What is secret of a task; nothing where it says that nothing is.

        Raises:
            NoSecrets: the sealed part is gone.
            Unavailable: it is not known here yet, or the keys' place is away.
            SettingsError: the keys cannot be read.
            SecretError: it does not open.
        """
        if not task.has_secrets:
            return TaskSecrets()
        key = keys.task_secrets(task.idc, task.sn)
        kv = self._stored(key)
        if kv is None:
            if not self._connected():
                raise Unavailable("the task's secrets are not known here while the store is away")
            raise NoSecrets("the task's secrets are not in the store: create the task again")
        sealed = records.decode(kv, SealedPart).sealed
        text = await self._open(sealed, context(key, FIELD))
        try:
            return msgspec.json.decode(text, type=TaskSecrets)
        except msgspec.MsgspecError:
            raise DamagedSecret("the task's secrets are damaged: create the task again") from None

    async def _open(self, sealed: str, place: str) -> str:
        if self._box is not None:
            try:
                return self._box.open(sealed, place)
            except UnknownKey:
                pass  # it was added since
        try:
            self._box = SecretBox(await self._read_ring())
        except KeysAway as error:
            raise Unavailable(f"the keys of secrets cannot be read now: {error}") from error
        return self._box.open(sealed, place)
