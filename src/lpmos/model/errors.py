"""Every error that LPMOS raises on purpose, as one tree with a stable code each.

    LpmosError
    ├── InvalidInput          a request is malformed or a field of it is wrong
    ├── Unauthenticated       no valid token
    ├── Forbidden             a valid token that may not do this
    ├── NotFound              the named thing does not exist
    ├── Conflict              the request contradicts what is there
    │   ├── ImpossibleTransition   the task is not in a state that allows this
    │   ├── UnfinishedTask         the machine already has a task under way
    │   ├── ForeignClaim           another agent run already took this install
    │   └── ForeignMachine         another machine speaks with this machine's MAC
    ├── NoSuitableDisk        no disk of the machine satisfies the task
    ├── TooLarge              more bytes than this call takes
    ├── TooBusy               try again later; nothing was changed
    ├── Occupied              all places for this are taken; try again later
    ├── ProviderAway          the identity provider cannot be used now
    ├── SecretError           a stored secret cannot be sealed or opened
    │   ├── UnknownKey             its key is not in the key ring
    │   └── DamagedSecret          it was changed, or moved from elsewhere
    ├── ImageError            an image is missing, damaged, or could not be built
    ├── DamagedBackup         a backup's file is not whole, was changed, or is none
    ├── BackupPlaceError      the object store for backups cannot be reached, or refuses
    ├── SettingsError         the configuration is wrong; every problem is listed
    └── StoreError            (`lpmos.store.api`) the store refused or could not be reached

A transport (HTTP, the command line) maps these in one table of its own; nothing here knows of it.
"""

from typing import ClassVar

import msgspec


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field of the input; `field` is its path, as `root_disk.serial`."""

    field: str
    message: str


class LpmosError(Exception):
    """The root: `str()` of any of these is a sentence for the person who can act on it."""

    code: ClassVar[str] = "error"


class InvalidInput(LpmosError):
    """The input was refused and changed nothing; `problems` names every wrong field."""

    code = "invalid-input"

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in problems))


class Unauthenticated(LpmosError):
    """The caller showed no valid token."""

    code = "unauthenticated"


class Forbidden(LpmosError):
    """The caller is known but may not do this."""

    code = "forbidden"


class NotFound(LpmosError):
    """The named thing does not exist (never raised because the store could not be asked)."""

    code = "not-found"


class Conflict(LpmosError):
    """The request contradicts what is there."""

    code = "conflict"


class ImpossibleTransition(Conflict):
    """The task's lifecycle has no such step from where the task is."""

    code = "impossible-transition"


class UnfinishedTask(Conflict):
    """The machine has a task that is not finished; a second one is refused."""

    code = "unfinished-task"


class ForeignClaim(Conflict):
    """The single-use install intent is spent, or belongs to another agent run."""

    code = "foreign-claim"


class ForeignMachine(Conflict):
    """Another machine reports with the MAC of a task's; `what` names what it differs in."""

    code = "foreign-machine"

    def __init__(self, text: str, *, what: str = "") -> None:
        self.what = what
        super().__init__(text)


class NoSuitableDisk(LpmosError):
    """No disk of the machine can be the target; the text says why for each."""

    code = "no-suitable-disk"


class TooLarge(LpmosError):
    """The body or document has more bytes than this call takes."""

    code = "too-large"


class TooBusy(LpmosError):
    """Nothing was changed; the caller may try again, after `retry_after_s` where that is known."""

    code = "too-busy"

    def __init__(self, text: str, *, retry_after_s: int | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(text)


class Occupied(LpmosError):
    """As many do this as may at once; one of them ends, and another may begin."""

    code = "occupied"


class ProviderAway(LpmosError):
    """The identity provider cannot be reached, or not be understood; the log says why."""

    code = "identity-provider-away"


class SecretError(LpmosError):
    """A stored secret cannot be sealed or opened."""

    code = "secret-error"


class UnknownKey(SecretError):
    """The key ring has no key of the id that is needed; the text names the id."""

    code = "unknown-key"


class DamagedSecret(SecretError):
    """Sealed text was changed, or stands where it was not sealed for."""

    code = "damaged-secret"


class ImageError(LpmosError):
    """An image is missing, damaged, or could not be built."""

    code = "image-error"


class DamagedBackup(LpmosError):
    """A backup's file is not whole, was changed, or is none; use an older one."""

    code = "backup-damaged"


class BackupPlaceError(LpmosError):
    """The object store for backups cannot be reached, refuses, or has no such backup."""

    code = "backup-place"


class SettingsError(LpmosError):
    """The configuration is wrong; the text lists every problem found."""

    code = "settings-error"
