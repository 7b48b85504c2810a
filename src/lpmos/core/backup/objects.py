"""Backups as objects of S3, Google's or Azure's storage, or of what speaks as they do.

The rule: an object exists once its last part is taken, so an upload that was cut off has no name.
Each is read back and compared with the file before it counts, and deleted where it differs.
Content passes in pieces of `PIECE_BYTES`, both ways. Credentials are those of the environment, as
obstore reads them; what a server or the library says is never repeated but for its error code,
for it may have keys and signatures in it.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from lpmos.core.backup.form import HEAD_BYTES, SUFFIX, manifest_of
from lpmos.core.backup.place import Backup, newest_first
from lpmos.model.errors import BackupPlaceError, DamagedBackup

PIECE_BYTES = 8 << 20
"""S3 takes 10,000 parts: a backup may have 80 GB."""

PIECES_AT_ONCE = 4
MANIFESTS_AT_ONCE = 8
CONNECT_TIMEOUT = timedelta(seconds=10)
REQUEST_TIMEOUT = timedelta(minutes=5)
"""For one piece, up or down."""

RETRY_TIMEOUT = timedelta(seconds=30)
RETRIES = 5

_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_NO_CONTAINER = ("NoSuchBucket", "ContainerNotFound")


class ObjectStore:
    """A `Place` at a URL: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.

    An object is put from, and its backup made in, the directory `work`.
    """

    def __init__(self, url: str, work: Path) -> None:
        """Reads credentials from the environment; nothing is asked of the server yet.

        Raises:
            BackupPlaceError: the environment or the URL has something wrong in it.
        """
        self._url = url.rstrip("/")
        self._work = work
        http = os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"
        with self._failures("cannot be used"):
            self._store: Any = from_url(
                self._url,
                client_options={
                    "connect_timeout": CONNECT_TIMEOUT,
                    "timeout": REQUEST_TIMEOUT,
                    "allow_http": http,
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT},
            )

    @property
    def work(self) -> Path:
        """Where backups are made before they are uploaded."""
        return self._work

    async def put(self, file: Path, name: str) -> str:
        """Upload the file, and read it back."""
        with self._failures("took no backup"):
            await obstore.put_async(
                self._store,
                name,
                file,
                use_multipart=True,
                chunk_size=PIECE_BYTES,
                max_concurrency=PIECES_AT_ONCE,
            )
        if await self._digest(name) != await asyncio.to_thread(_digest_of, file):
            await self.delete(name)
            raise DamagedBackup(f"{self._url}/{name}: it was not read back as it was written")
        return f"{self._url}/{name}"

    async def backups(self) -> list[Backup]:
        """One request for a thousand names, and one for each manifest."""
        with self._failures("cannot be listed"):
            pages = [page async for page in obstore.list(self._store)]
        found = [(each["path"], each["size"]) for page in pages for each in page]
        gate = asyncio.Semaphore(MANIFESTS_AT_ONCE)
        backups = await asyncio.gather(
            *(
                self._backup(name, size, gate)
                for name, size in found
                if name.endswith(SUFFIX) and "/" not in name and size >= HEAD_BYTES
            )
        )
        return newest_first([each for each in backups if each is not None])

    async def delete(self, name: str) -> None:
        """Delete the object."""
        with self._failures("lets nothing be deleted"):
            try:
                await obstore.delete_async(self._store, name)
            except FileNotFoundError as error:
                if _code(error) in _NO_CONTAINER:
                    raise

    async def fetch(self, name: str, file: Path) -> None:
        """Write an object into a new file, which only its owner may read.

        Raises:
            BackupPlaceError: there is none of that name, or it cannot be read.
            OSError: the file cannot be written.
        """
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            async for piece in self._pieces(name):
                await asyncio.to_thread(opened.write, piece)

    async def _backup(self, name: str, size_bytes: int, gate: asyncio.Semaphore) -> Backup | None:
        async with gate:
            try:
                with self._failures("cannot be read"):
                    head = await self._range(name, 0, HEAD_BYTES)
                return Backup(
                    f"{self._url}/{name}", name, manifest_of(head, Path(name)), size_bytes
                )
            except (DamagedBackup, NoSuchBackup):
                return None

    async def _digest(self, name: str) -> bytes:
        digest = hashlib.sha256()
        async for piece in self._pieces(name):
            await asyncio.to_thread(digest.update, piece)
        return digest.digest()

    async def _pieces(self, name: str) -> AsyncIterator[bytes]:
        with self._failures("cannot be read"):
            size_bytes = (await obstore.head_async(self._store, name))["size"]
        for start in range(0, size_bytes, PIECE_BYTES):
            with self._failures("cannot be read"):
                piece = await self._range(name, start, min(PIECE_BYTES, size_bytes - start))
            yield piece

    async def _range(self, name: str, start: int, length: int) -> bytes:
        piece = await obstore.get_range_async(self._store, name, start=start, length=length)
        return bytes(piece)

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """What the library raises, as an error that says what to do and repeats no secret."""
        try:
            yield
        except FileNotFoundError as error:
            if _code(error) not in _NO_CONTAINER:
                raise NoSuchBackup(f"{self._url}: there is no such backup") from None
            raise BackupPlaceError(_said(self._url, what, error)) from None
        except (BaseError, ValueError) as error:
            raise BackupPlaceError(_said(self._url, what, error)) from None


class NoSuchBackup(BackupPlaceError):
    """The place has no backup of that name."""

    code = "backup-missing"


_MEANINGS = (
    (_NO_CONTAINER, "there is no such bucket: create it, or correct backup_target"),
    (
        ("AccessDenied", "AuthorizationPermissionMismatch", "AuthorizationFailure", "403"),
        "access is denied: allow these credentials to list, read, write and delete there",
    ),
    (
        (
            *("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed"),
            *("AuthenticationRequired", "401"),
        ),
        "the credentials are not taken: correct them in the environment of this process",
    ),
    (("ExpiredToken", "TokenRefreshRequired"), "the credentials are expired: give new ones"),
)
_NO_HTTP = "plain HTTP is not allowed: use an https endpoint, or set AWS_ALLOW_HTTP=true"
_UNREACHABLE = "it does not answer: look at the network, the endpoint and the proxy"
_NO_CREDENTIALS = "there are no credentials in the environment of this process: set them"


def _said(url: str, what: str, error: Exception) -> str:
    code, text = _code(error), str(error)
    for codes, meaning in _MEANINGS:
        if code in codes:
            return f"{url} {what}: {meaning} ({code})"
    if "BadScheme" in text or "builder error" in text:
        return f"{url} {what}: {_NO_HTTP}"
    if "169.254.169.254" in text or "CredentialsError" in text or "metadata.google" in text:
        return f"{url} {what}: {_NO_CREDENTIALS}"
    if code is not None:
        return f"{url} {what}: the server answers {code}"
    if "HTTP error" in text:
        return f"{url} {what}: {_UNREACHABLE}"
    return f"{url} {what}: {type(error).__name__}; look at the URL and the environment"


def _code(error: Exception) -> str | None:
    """The server's own word for what is wrong, else the status; no other part of its answer."""
    text = str(error)
    found = _CODE.search(text) or _STATUS.search(text)
    return found.group(1) if found else None


def _digest_of(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
