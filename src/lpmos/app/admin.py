"""The key that signs API tokens, and the first administrator's token.

Nothing is ever open: a control plane without a key makes one at its first start, readable by its
own user alone, and leaves a token for the first administrator beside it.
"""

import os
import secrets
from datetime import timedelta
from pathlib import Path

import structlog

from lpmos.control.auth import KEY_BYTES, TokenSigner
from lpmos.core.clock import utc_now
from lpmos.model.errors import SettingsError

log = structlog.get_logger()

FIRST_TOKEN_LIFETIME = timedelta(days=7)


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
    """The signer of this control plane; key and first token are made where there is no key yet.

    Raises:
        SettingsError: as `signer_from`, or a key file that is named does not exist.
    """
    if key_file is not None:
        return signer_from(key_file)
    path = state_dir / "auth.key"
    if path.exists():
        return signer_from(path)
    state_dir.mkdir(parents=True, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    signer = TokenSigner(key, utc_now)
    token = signer.issue("admin", "admin", FIRST_TOKEN_LIFETIME)
    # The key comes last: who dies in between makes both again at the next start.
    _write_secret(state_dir / "admin.token", token.encode() + b"\n")
    _write_secret(path, key)
    log.info("made the first administrator's token", file=str(state_dir / "admin.token"))
    return signer


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that nobody else can read, at once or not at all."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
