"""TLS 1.3 with a certificate that may be replaced while the server runs.

What is served is always a pair that was loaded whole: a new one is tried in a context of its own,
and takes the place of the old one for new handshakes only if certificate and key fit. Connections
that are open go on.
"""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from lpmos.model.errors import SettingsError

log = structlog.get_logger()

LOOK_EVERY_S = 2.0


class TlsFiles(msgspec.Struct, frozen=True):
    """The server's certificate (with its chain) and private key, as PEM files."""

    certificate: Path
    key: Path


class Tls:
    """The context of the server's sockets; `run` replaces its certificate when the files change."""

    def __init__(self, files: TlsFiles, *, look_every_s: float = LOOK_EVERY_S) -> None:
        """Raises `SettingsError` where the pair cannot be used."""
        self._files = files
        self._look_every_s = look_every_s
        self._seen = self._marks()
        self.context = self._present = _loaded(files)
        self.context.sni_callback = self._choose

    async def run(self, now: asyncio.Event | None = None) -> None:
        """Look at the files every now and then, and at once when `now` is set; until cancelled."""
        now = now or asyncio.Event()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_every_s):
                    await now.wait()
            now.clear()
            self.look()

    def look(self) -> None:
        """Take the pair that is in the files now, if they changed and it can be used."""
        marks = self._marks()
        if marks == self._seen:
            return
        self._seen = marks
        try:
            self._present = _loaded(self._files)
        except SettingsError as error:
            log.warning("the old certificate goes on", reason=str(error))
        else:
            log.info("took a new certificate", file=str(self._files.certificate))

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """Called in each handshake, with or without a server name."""
        connection.context = self._present

    def _marks(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_mark(path) for path in (self._files.certificate, self._files.key))


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None while it is away."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _loaded(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # A key with a passphrase is refused, not asked for on a terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except OSError as error:  # an SSLError is one too
        raise SettingsError(
            f"the certificate {files.certificate} with the key {files.key} cannot be used: {error}"
        ) from error
    return context
