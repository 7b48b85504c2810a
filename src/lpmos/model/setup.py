"""What a task says of the installed system beyond its disk: users, packages, commands, hooks.

The rule: a caller gives a `NewSetup`, with secrets; a task has the `Setup` of it, in which nothing
is secret, and what was secret stands in a `TaskSecrets` of its own, which is only ever stored
sealed. Who makes shell scripts of these texts quotes them; that a pattern here lets none through
which would need it is nothing to rely on.

Sources: useradd(8) for names, crypt(5) for hashes, cloud-init's user-data formats, ansible-pull(1),
puppet-agent(8).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from lpmos.model.cloudconfig import USER_DATA_CHARACTERS, user_data_problem
from lpmos.model.errors import FieldProblem

SETUP_BYTES = 16_384
"""What the whole of it may take as JSON: a task's document has a limit (S13)."""
USERS_LIMIT = 20
GROUPS_LIMIT = 32
USER_KEYS_LIMIT = 20
PACKAGES_LIMIT = 200
COMMANDS_LIMIT = 50
VALUES_LIMIT = 50

ACCOUNT_PATTERN = "^[a-z_][a-z0-9_-]{0,31}$"
SSH_KEY_PATTERN = (
    "^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+)"
    " [A-Za-z0-9+/=]{16,}( [^\\n]*)?$"
)
HASH_PATTERN = r"^\$(y|gy|7|2[aby]|6|5)\$[A-Za-z0-9./$=,+-]{8,480}$"
"""crypt(5): yescrypt, gost-yescrypt, scrypt, bcrypt, SHA-512 and SHA-256; nothing weaker."""
_PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
_NAME = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_REPOSITORY = (
    r"^((https?|ssh|git)://([A-Za-z0-9._-]+@)?[A-Za-z0-9.:\[\]-]+/|file:///"
    r"|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)[A-Za-z0-9._~%+/@-]+$"
)

AccountName = Annotated[str, msgspec.Meta(pattern=ACCOUNT_PATTERN, examples=["admin"])]
SshKey = Annotated[str, msgspec.Meta(pattern=SSH_KEY_PATTERN, max_length=4096)]
PasswordHash = Annotated[
    str,
    msgspec.Meta(
        pattern=HASH_PATTERN,
        description="As `openssl passwd -6` or `mkpasswd` make it; kept sealed, never answered.",
        extra_json_schema={"writeOnly": True},
    ),
]
Shell = Annotated[
    str, msgspec.Meta(pattern="^(/[A-Za-z0-9._-]+)+$", max_length=128, examples=["/bin/bash"])
]
Package = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z0-9@]([A-Za-z0-9.+_:~=/^-]{0,126}[A-Za-z0-9.+])?$",
        examples=["nginx"],
        description="As the system's own package manager takes it.",
    ),
]
Command = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x08\x0b-\x1f\x7f]*$",
        max_length=8192,
        description="Run by the new system's /bin/sh as root; one line or a whole script.",
    ),
]
ValueName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", max_length=8192)]
SecretText = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", min_length=4, max_length=8192)]
"""Long enough to be found, and hidden, where a program says it."""
Repository = Annotated[
    str,
    msgspec.Meta(
        pattern=_REPOSITORY,
        max_length=512,
        examples=["https://git.example.net/site.git"],
        description="A git repository; without a password, which would be read by everybody.",
    ),
]
RepositoryPath = Annotated[str, msgspec.Meta(pattern=_PATH_PATTERN, max_length=256)]
HostName = Annotated[str, msgspec.Meta(pattern=f"^{_NAME}([.]{_NAME})*$", max_length=253)]
TimeZone = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z][A-Za-z0-9_+-]{0,31}){0,2}$",
        examples=["Europe/Berlin"],
    ),
]
Locale = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([a-z]{2,3}_[A-Z]{2}([.][A-Za-z0-9-]{1,16})?(@[a-z]{1,16})?|C|POSIX|C[.]UTF-8)$",
        examples=["de_DE.UTF-8"],
    ),
]
_Users = msgspec.Meta(max_length=USERS_LIMIT)


class _AccountFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user of the installed system, who is made where the image has none of this name.

    `sudo` is root's rights by sudo(8): `password` asks for the user's own, `nopasswd` does not.
    """

    name: AccountName
    ssh_keys: Annotated[tuple[SshKey, ...], msgspec.Meta(max_length=USER_KEYS_LIMIT)] = ()
    sudo: Literal["password", "nopasswd"] | None = None
    groups: Annotated[tuple[AccountName, ...], msgspec.Meta(max_length=GROUPS_LIMIT)] = ()
    shell: Shell = "/bin/bash"


class NewAccount(_AccountFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user as a caller gives it; without a hash nobody logs in with a password."""

    password_hash: PasswordHash | None = None


class Account(_AccountFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user as a task has it."""

    has_password: bool = False


class CloudInit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cloud-init finds at the first boot (NoCloud); it is installed where it is missing.

    The text begins as cloud-init wants it: `#cloud-config` and YAML, `#!` and a script, or another
    of its headers. The network stays the task's.
    """

    user_data: Annotated[
        str,
        msgspec.Meta(
            max_length=USER_DATA_CHARACTERS, examples=["#cloud-config\nruncmd: [[touch, /done]]\n"]
        ),
        msgspec.Meta(extra_json_schema={"format": "cloud-init"}),
    ]


class Ansible(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ansible-pull` at the first boot, with the variables as extra ones.

    `inventory` is a path in the repository; without one the playbook runs for `localhost`.
    """

    repository: Repository
    playbook: RepositoryPath = "local.yml"
    branch: RepositoryPath | None = None
    inventory: RepositoryPath | None = None
    variables: Annotated[
        dict[ValueName, Text | int | float | bool], msgspec.Meta(max_length=VALUES_LIMIT)
    ] = {}


class Puppet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the Puppet agent at the first boot, and its settings for those after it."""

    server: HostName
    environment: Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{1,64}$")] = "production"
    certname: (
        Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$")] | None
    ) = None


class _Common(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    packages: Annotated[tuple[Package, ...], msgspec.Meta(max_length=PACKAGES_LIMIT)] = ()
    commands: Annotated[tuple[Command, ...], msgspec.Meta(max_length=COMMANDS_LIMIT)] = ()
    cloud_init: CloudInit | None = None
    ansible: Ansible | None = None
    puppet: Puppet | None = None
    timezone: TimeZone | None = None
    locale: Locale | None = None


class Setup(_Common, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task says of its system; of what is secret, only that it is there.

    `secret_names` are the variables that commands and hooks have in their environment.
    """

    users: Annotated[tuple[Account, ...], _Users] = ()
    has_root_password: bool = False
    secret_names: tuple[str, ...] = ()

    @property
    def has_secrets(self) -> bool:
        """Whether there is a sealed part."""
        passwords = self.has_root_password or any(user.has_password for user in self.users)
        return passwords or bool(self.secret_names)

    @property
    def has_hooks(self) -> bool:
        """Whether something has to succeed in the installed system before it is said to be up."""
        return any((self.cloud_init, self.ansible, self.puppet))


class TaskSecrets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a task is secret: hashes, those of users by name, values by name, a passphrase."""

    root_password_hash: str | None = None
    password_hashes: dict[str, str] = {}
    values: dict[str, str] = {}
    disk_passphrase: str | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing of it, as `__repr__`."""
        return []

    def __repr__(self) -> str:
        """Nothing of it: a representation ends in logs."""
        return "TaskSecrets(...)"

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that must not be said, the longest first."""
        hashes = (
            *self.password_hashes.values(),
            self.root_password_hash or "",
            self.disk_passphrase or "",
        )
        found = {text for text in (*hashes, *self.values.values()) if text}
        return tuple(sorted(found, key=lambda text: (-len(text), text)))


NO_SECRETS = TaskSecrets()


class NewSetup(_Common, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gives; `secrets` are in the environment of commands and hooks."""

    users: Annotated[tuple[NewAccount, ...], _Users] = ()
    root_password_hash: PasswordHash | None = None
    secrets: Annotated[
        dict[ValueName, SecretText],
        msgspec.Meta(max_length=VALUES_LIMIT, extra_json_schema={"writeOnly": True}),
    ] = {}

    def parted(self) -> tuple[Setup, TaskSecrets]:
        """What the task says, and what is sealed."""
        users = tuple(
            Account(
                name=user.name,
                ssh_keys=user.ssh_keys,
                sudo=user.sudo,
                groups=user.groups,
                shell=user.shell,
                has_password=user.password_hash is not None,
            )
            for user in self.users
        )
        common = {name: getattr(self, name) for name in _Common.__struct_fields__}
        setup = Setup(
            users=users,
            has_root_password=self.root_password_hash is not None,
            secret_names=tuple(sorted(self.secrets)),
            **common,
        )
        hashes = {user.name: user.password_hash for user in self.users if user.password_hash}
        return setup, TaskSecrets(
            root_password_hash=self.root_password_hash,
            password_hashes=hashes,
            values=dict(self.secrets),
        )


RESERVED_VALUES = frozenset(
    {"PATH", "HOME", "LC_ALL", "IFS", "ENV", "BASH_ENV", "SHELL", "SHELLOPTS"}
)
"""Names that a shell would not be the same with."""


def setup_problems(setup: NewSetup, field: str = "setup") -> list[FieldProblem]:
    """Everything that is wrong with it beyond what its types say; empty where nothing is."""
    problems = _user_problems(setup.users, f"{field}.users")
    problems += [
        FieldProblem(f"{field}.secrets.{name}", "is a name that the shell uses itself")
        for name in setup.secrets
        if name in RESERVED_VALUES
    ]
    problems += [
        FieldProblem(f"{field}.packages.{number}", f"{package} is named twice")
        for number, package in enumerate(setup.packages)
        if package in setup.packages[:number]
    ]
    if setup.cloud_init is not None:
        problem = user_data_problem(setup.cloud_init.user_data)
        if problem:
            problems.append(FieldProblem(f"{field}.cloud_init.user_data", problem))
    if len(msgspec.json.encode(setup)) > SETUP_BYTES:
        problems.append(FieldProblem(field, f"is over {SETUP_BYTES} bytes in all"))
    return problems


def _user_problems(users: Sequence[NewAccount], field: str) -> list[FieldProblem]:
    counts = Counter(user.name for user in users)
    problems = []
    for number, user in enumerate(users):
        here = f"{field}.{number}"
        if user.name == "root":
            text = "root is there: say `ssh_keys` of the task and `root_password_hash`"
            problems.append(FieldProblem(f"{here}.name", text))
        elif counts[user.name] > 1:
            problems.append(FieldProblem(f"{here}.name", f"{user.name} is named twice"))
        if user.sudo == "password" and user.password_hash is None:
            text = "`password` needs a `password_hash`, or nobody can give it; else `nopasswd`"
            problems.append(FieldProblem(f"{here}.sudo", text))
    return problems
