"""What a client of a region remembers of the pair on its own disk, for a start without the store.

    standing.json      who else belongs to the region, and who was active when
    promised.json      until when it has promised to serve no machine
    serve-alone.json   written by `lpmos region serve-alone`: an operator says who is off

The rule: a promise is on the disk before it is given, so that a restart does not break it.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from lpmos.model.promises import GRACE_S, PROMISE_S

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another text after each start of the machine; the monotonic clock begins anew with it."""
T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """What a client knew when the store answered last.

    `alone`: nobody else stood for election when it led. `others`: the URL of each other client's
    own, empty where it is not known, as of the store's `revision`. `term` orders who was active.
    """

    alone: bool = False
    others: dict[str, str] = {}
    revision: int = 0
    term: int = 0


class Promised(msgspec.Struct, frozen=True):
    """A promise that was given: until this time of the monotonic clock of this boot."""

    to: str
    boot_id: str
    until: float


class ServeAlone(msgspec.Struct, frozen=True):
    """An operator's word that the other clients are off, and stay so until the store is back."""

    by: str
    at: datetime
    off: tuple[str, ...]


class Remembered:
    """The files of one state directory; what cannot be read is as good as not there."""

    def __init__(self, state_dir: Path) -> None:
        self._standing = state_dir / "standing.json"
        self._promised = state_dir / "promised.json"
        self._serve_alone = state_dir / "serve-alone.json"
        self._log = structlog.get_logger()
        self.kept = _read(self._standing, Kept) or Kept()

    def keep(self, kept: Kept) -> None:
        """Remember this; where the disk does not take it, it holds until a restart.

        The revision alone is not worth a write: an older one on the disk only makes it ask more.
        """
        before, self.kept = self.kept, kept
        if msgspec.structs.replace(before, revision=kept.revision) == kept:
            return
        try:
            _write(self._standing, kept)
        except OSError as error:
            self._log.error("cannot remember who else there is", error=str(error))

    def promised(self, now: float) -> Promised | None:
        """The promise that may still bind; one of before the machine's start does from `now`."""
        found = _read(self._promised, Promised)
        if found is None:
            return None
        if found.boot_id == _boot_id():
            return found if found.until > now else None
        return Promised(found.to, _boot_id(), now + PROMISE_S + GRACE_S)

    def promise(self, to: str, until: float) -> None:
        """Write a promise down; blocks on the disk.

        Raises:
            OSError: it is not there for certain, so it must not be given.
        """
        _write(self._promised, Promised(to, _boot_id(), until), durably=True)

    def forget_promise(self) -> None:
        """It is over."""
        self._promised.unlink(missing_ok=True)

    def serve_alone(self) -> ServeAlone | None:
        """What an operator said, where it was not taken back."""
        return _read(self._serve_alone, ServeAlone)

    def say_serve_alone(self, word: ServeAlone) -> None:
        """Take an operator's word; raises `OSError` where the disk does not."""
        _write(self._serve_alone, word, durably=True)

    def forget_serve_alone(self) -> bool:
        """Take it back; whether there was one. Raises `OSError` where the disk refuses."""
        there = self._serve_alone.exists()
        self._serve_alone.unlink(missing_ok=True)
        return there


def _boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _read(file: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(file: Path, document: msgspec.Struct, *, durably: bool = False) -> None:
    new = file.with_suffix(".new")
    with new.open("wb") as opened:
        opened.write(msgspec.json.encode(document))
        if durably:
            opened.flush()
            os.fsync(opened.fileno())
    new.replace(file)
    if durably:
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
