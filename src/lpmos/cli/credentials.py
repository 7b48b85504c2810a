"""Who one is at which server: `$XDG_CONFIG_HOME/lpmos/credentials.json`, for its owner only.

A refresh token is good for one use. So whoever changes the file holds its lock, reads it again
under the lock, and replaces it whole: two commands at once never use the same refresh token, and a
command killed in the middle leaves the file as it was.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from lpmos.cli.failures import Usage


class Login(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of one server; times are seconds of this machine's clock since 1970.

    Without a refresh token `access_token` is a personal API token, or one that was signed offline.
    """

    user: str
    access_token: str
    expires_at: float | None = None
    refresh_token: str | None = None
    ca: str | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True):
    current: str | None = None
    servers: dict[str, Login] = {}


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the credentials are, by the XDG base directory specification."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return Path(base) / "lpmos" / "credentials.json"


class Credentials:
    """The file of logins; every method reads it anew.

    Raises:
        Usage: the file is damaged, or others can read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def current(self) -> str | None:
        """The server that was signed in to last."""
        return self._read().current

    def get(self, server: str) -> Login | None:
        """What is known of `server`."""
        return self._read().servers.get(server)

    def put(self, server: str, login: Login, *, current: bool = False) -> None:
        """Keep a login; with the lock held, or where nobody else can want to change it."""
        known = self._read()
        self._write(
            _File(
                current=server if current else known.current,
                servers={**known.servers, server: login},
            )
        )

    def forget(self, server: str) -> None:
        """Keep nothing of `server` any more."""
        known = self._read()
        left = {name: login for name, login in known.servers.items() if name != server}
        self._write(_File(current=None if known.current == server else known.current, servers=left))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the file until the block ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> _File:
        try:
            mode = self.path.stat().st_mode
            content = self.path.read_bytes()
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise Usage(f"{self.path} cannot be read: {error}") from error
        if mode & 0o077:
            raise Usage(f"{self.path} can be read by others: chmod 600 {self.path}")
        try:
            return msgspec.json.decode(content, type=_File)
        except msgspec.MsgspecError as error:
            raise Usage(f"{self.path} is damaged ({error}); delete it and sign in again") from error

    def _write(self, content: _File) -> None:
        document: dict[str, Any] = msgspec.to_builtins(content)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
