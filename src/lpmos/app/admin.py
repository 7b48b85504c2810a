"""The key that signs API tokens, and the first administrator.

Nothing is ever open, and no password is a default one: a control plane without a key makes one at
its first start, and where the store has no user it makes the administrator `admin` with a random
password, which stands in a file that only the control plane's own user can read.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog

from lpmos.control.auth import KEY_BYTES, TokenSigner
from lpmos.core.backup.restoring import require_whole
from lpmos.core.clock import utc_now
from lpmos.core.identity.users import Users
from lpmos.model.errors import SettingsError
from lpmos.store.api import Store, StoreError

log = structlog.get_logger()

PASSWORD_FILE = "admin.password"  # noqa: S105 - the name of a file
PASSWORD_BYTES = 18
RETRY_S = 1.0

T = TypeVar("T")


def signer_from(key_file: Path) -> TokenSigner:
    """The signer with the key of this file.

    Raises:
        SettingsError: the file cannot be read, or others can read it.
    """
    try:
        mode = key_file.stat().st_mode
        key = key_file.read_bytes()
    except OSError as error:
        raise SettingsError(f"the signing key cannot be read: {error}") from error
    if mode & 0o077:
        raise SettingsError(f"{key_file} can be read by others: chmod 600 {key_file}")
    return TokenSigner(key, utc_now)


def prepare(state_dir: Path, key_file: Path | None) -> TokenSigner:
    """The signer of this control plane; the key is made where there is none yet.

    Raises:
        SettingsError: as `signer_from`, or a key file that is named does not exist.
    """
    if key_file is not None:
        return signer_from(key_file)
    path = state_dir / "auth.key"
    if path.exists():
        return signer_from(path)
    key = secrets.token_bytes(KEY_BYTES)
    _write_secret(path, key)
    return TokenSigner(key, utc_now)


async def make_first_admin(users: Users, state_dir: Path) -> None:
    """Make the first administrator where the store has no user; a store that is away is waited for.

    The file is there before the user is, so that a password is never lost; it goes where another
    control plane was first.
    """
    if await _patiently(users.any):
        return
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    user = await users.first_admin(password)
    file = state_dir / PASSWORD_FILE
    _write_secret(file, password.encode() + b"\n")
    if await _patiently(lambda: users.make_first(user)):
        log.info("made the first administrator", name=user.name, password_file=str(file))
    else:
        file.unlink(missing_ok=True)


async def wait_for_whole(store: Store) -> None:
    """Return once the store has answered that no restore into it is unfinished.

    Raises:
        RestoreUnfinished: one is.
    """
    await _patiently(lambda: require_whole(store))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The store's answer, however long it is away."""
    while True:
        try:
            return await ask()
        except StoreError as error:
            log.warning("the store does not answer yet", reason=str(error))
            await asyncio.sleep(RETRY_S)


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that nobody else can read, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
