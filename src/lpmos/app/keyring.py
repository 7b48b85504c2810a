"""Where the keys that secrets are sealed with are kept: a file, or HashiCorp Vault (KV version 2).

Both hold the same text: a line `ID BASE64` for each key, the oldest first; `#` begins a comment.
A place that has nothing yet gets its first key; a change never overwrites one made meanwhile.
"""

import asyncio
import base64
import binascii
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from lpmos.app.settings import Settings
from lpmos.core.clock import utc_now
from lpmos.core.secrets.keyring import KeyProvider, KeyRing, KeysAway, new_key
from lpmos.model.errors import SettingsError

log = structlog.get_logger()

FILE_NAME = "secrets.key"
FILE_LIMIT_BYTES = 65_536
VAULT_TIMEOUT_S = 10
ATTEMPTS = 5
VAULT_FIELD = "keys"
"""The one field of the secret in Vault."""

Edit = Callable[[KeyRing], KeyRing]


def provider_from(settings: Settings, *, make: bool = True) -> KeyProvider:
    """The provider that the settings choose: Vault where an address is given, else a file.

    `make`: the file in the state directory is made where it does not exist.

    Raises:
        SettingsError: both are chosen, or Vault without a token.
    """
    if settings.vault_addr is None:
        named: Path | None = settings.secrets_key_file
        return FileKeys(named or settings.state_dir / FILE_NAME, make=make and named is None)
    if settings.secrets_key_file is not None:
        raise SettingsError("--secrets-key-file and --vault-addr are two places: give one")
    if settings.vault_token_file is None:
        raise SettingsError("--vault-addr needs --vault-token-file")
    return VaultKeys(
        settings.vault_addr,
        settings.vault_token_file,
        mount=settings.vault_mount,
        path=settings.vault_path,
        ca=settings.vault_ca,
    )


def parse(text: str, source: str) -> KeyRing:
    """The ring that is written so.

    Raises:
        SettingsError: names the line that is wrong, never what stands in it.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            name, encoded = words
            key = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise SettingsError(f"{source}: line {number} is not 'ID BASE64'") from None
        if name in keys:
            raise SettingsError(f"{source}: line {number} has an id that was there before")
        keys[name] = key
    return KeyRing(keys, source)


def written(ring: KeyRing) -> str:
    """The text that `parse` reads."""
    return "".join(f"{name} {base64.b64encode(key).decode()}\n" for name, key in ring.items())


class FileKeys:
    """A key file that its owner alone can read."""

    def __init__(self, path: Path, *, make: bool) -> None:
        """`make`: a file that does not exist is made with a first key; else it must exist."""
        self._path = path
        self._make = make

    async def read(self) -> KeyRing:
        """The ring in the file."""
        return await asyncio.to_thread(self.read_now)

    async def add(self, key_id: str, key: bytes) -> KeyRing:
        """Add a line."""
        return await asyncio.to_thread(self.edit, lambda ring: ring.with_key(key_id, key))

    async def remove(self, key_id: str) -> KeyRing:
        """Take a line away."""
        return await asyncio.to_thread(self.edit, lambda ring: ring.without(key_id))

    def read_now(self) -> KeyRing:
        """The ring in the file, made first where it may be.

        Raises:
            SettingsError: it cannot be read, others can read it, or it is of another form.
        """
        if self._make and not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if not self._path.exists():
                    self._write(KeyRing(dict([new_key(utc_now())]), str(self._path)))
                    log.info("made the first key of secrets", file=str(self._path))
        return self._read()

    def add_new(self) -> str:
        """Add a new key; its id. Raises as `read_now`."""
        key_id, key = new_key(utc_now())
        return self.edit(lambda ring: ring.with_key(key_id, key)).newest

    def edit(self, change: Edit) -> KeyRing:
        """Replace the file by what `change` makes of it; raises as `read_now`."""
        with self._locked():
            ring = change(self._read())
            self._write(ring)
        return ring

    def _read(self) -> KeyRing:
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(FILE_LIMIT_BYTES)
        except OSError as error:
            raise SettingsError(f"the keys of secrets cannot be read: {error}") from error
        if mode & 0o077:
            raise SettingsError(f"{self._path} can be read by others: chmod 600 {self._path}")
        return parse(content.decode(errors="replace"), str(self._path))

    def _write(self, ring: KeyRing) -> None:
        directory = self._path.parent
        try:
            with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:  # mode 0600
                new = Path(file.name)
                file.write(written(ring).encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            raise SettingsError(f"the keys of secrets cannot be written: {error}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others that change the file out; the lock is on its directory."""
        try:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise SettingsError(f"the keys of secrets cannot be written: {error}") from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


class VaultKeys:
    """A secret of Vault's KV version 2 engine; changes are compared with its version."""

    def __init__(
        self, address: str, token_file: Path, *, mount: str, path: str, ca: Path | None = None
    ) -> None:
        """`token_file` is read for each call, so that an agent may renew the token in it."""
        self._address = address
        self._token_file = token_file
        self._mount = mount
        self._path = path
        self._ca = ca
        self._source = f"Vault at {address}, {mount}/{path}"

    async def read(self) -> KeyRing:
        """The ring in Vault, made first where there is none."""
        return await asyncio.to_thread(self._edited, lambda ring: ring)

    async def add(self, key_id: str, key: bytes) -> KeyRing:
        """Add a key."""
        return await asyncio.to_thread(self._edited, lambda ring: ring.with_key(key_id, key))

    async def remove(self, key_id: str) -> KeyRing:
        """Take a key away."""
        return await asyncio.to_thread(self._edited, lambda ring: ring.without(key_id))

    def _edited(self, change: Edit) -> KeyRing:
        """What is there after `change`; raises `SettingsError` with what Vault said."""
        import hvac.exceptions  # takes 0.2 s, which only its users pay
        import requests

        try:
            client = hvac.Client(
                url=self._address,
                token=self._token_file.read_text().strip(),
                verify=str(self._ca) if self._ca else True,
                timeout=VAULT_TIMEOUT_S,
            )
            return self._swapped(client.secrets.kv.v2, change)
        except (
            hvac.exceptions.VaultDown,
            hvac.exceptions.InternalServerError,
            hvac.exceptions.BadGateway,
            requests.RequestException,
        ) as error:
            raise KeysAway(f"{self._source}: {error}") from error
        except (hvac.exceptions.VaultError, OSError) as error:
            raise SettingsError(f"{self._source}: {error}") from error

    def _swapped(self, engine: Any, change: Edit) -> KeyRing:
        """The ring after `change`, stored where it is another or the first."""
        import hvac.exceptions

        for attempt in range(1, ATTEMPTS + 1):
            ring, version = self._current(engine)
            after = change(ring)
            if after is ring and version > 0:
                return ring
            try:
                self._store(engine, after, version)
            except hvac.exceptions.InvalidRequest:  # another changed it since it was read
                if attempt == ATTEMPTS:
                    raise
            else:
                return after
        raise AssertionError("the last attempt returns or raises")

    def _current(self, engine: Any) -> tuple[KeyRing, int]:
        """The ring and its version; a first ring and 0 where nothing is there."""
        import hvac.exceptions

        try:
            answer = engine.read_secret_version(
                self._path, mount_point=self._mount, raise_on_deleted_version=True
            )
            text = answer["data"]["data"][VAULT_FIELD]
            version = int(answer["data"]["metadata"]["version"])
        except hvac.exceptions.InvalidPath as error:
            if _was_deleted(error):
                raise SettingsError(
                    f"{self._source} was deleted; restore a version of it, or its secrets are lost"
                ) from None
            return KeyRing(dict([new_key(utc_now())]), self._source), 0
        except (KeyError, TypeError, ValueError):
            raise SettingsError(f"{self._source} has no field {VAULT_FIELD!r}") from None
        return parse(str(text), self._source), version

    def _store(self, engine: Any, ring: KeyRing, version: int) -> None:
        engine.create_or_update_secret(
            self._path, {VAULT_FIELD: written(ring)}, cas=version, mount_point=self._mount
        )


def _was_deleted(error: Any) -> bool:
    """Whether Vault's 404 is about versions that were there once (it then has metadata)."""
    document = getattr(error, "json", None)
    data = document.get("data") if isinstance(document, dict) else None
    return isinstance(data, dict) and "metadata" in data
