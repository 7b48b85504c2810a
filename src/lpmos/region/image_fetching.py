"""Keeps a region's images directory a copy of its control plane's, one file at a time.

The rule: a region installs from its own disk only. So all that the source lists is fetched ahead,
goes on where it broke off, also after a kill, and appears only when every byte was verified; while
the source is away nothing changes. Of clients that share the directory, one at a time does it.
"""

import asyncio
import random
import shutil
import time
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.images.catalog_manifests import Refuses
from lpmos.images.copies import Copies, Held
from lpmos.images.items import Item, Key, Listed, System, item_of
from lpmos.model.errors import ImageError
from lpmos.model.fetching import NAMED, Arrival, Fetching
from lpmos.model.image import ImageManifest
from lpmos.region.image_download import check_room, download
from lpmos.region.image_plan import Plan, plan
from lpmos.region.image_source import Calls, ImageSource, Listing, NotFetched, Reason

ASK_EVERY_S = 60.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
DAMAGED_RETRY_S = 3600.0
"""A file that came wrong twice is wrong at the source: a WAN is not for fetching it all day. An
item that changed is tried at once."""
TURN_S = 5.0
"""How often a client looks whether another one that shares its directory is done, and the least
time from one list to the next."""
RATE_WINDOW_S = 10.0
TEXT_CHARACTERS = 400


class Failure(NamedTuple):
    """Why an item did not come, how often in a row, and when it is tried again (monotonic).

    `digest` is the item's: another one of the same name has not failed.
    """

    digest: str
    text: str
    times: int
    not_before: float


class Counted(msgspec.Struct):
    """What happened since the start, for the metrics."""

    fetched_bytes: int = 0
    items: int = 0
    failures: dict[Reason, int] = {}


class ImageFetching:
    """One client's copy; `state` says how it stands, `counted` what it did."""

    def __init__(
        self,
        source: ImageSource,
        images_dir: Path,
        needed: Callable[[], Collection[System] | None],
        clock: Clock,
        *,
        trust: Refuses | None = None,
        ask_every_s: float = ASK_EVERY_S,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """Fetches nothing yet.

        Args:
            source: where from.
            images_dir: where to.
            needed: the systems of unfinished tasks; None where they are not known.
            clock: the time.
            trust: says of an image why the region would not serve it: it is then not fetched.
            ask_every_s: how long after one list the next one is asked for.
            free_bytes: of a directory's file system.
        """
        self._source = source
        self._directory = images_dir
        self._copies = Copies(images_dir)
        self._needed = needed
        self._clock = clock
        self._trust = trust
        self._ask_every_s = ask_every_s
        self._free_bytes = free_bytes
        self._listing: Listing | None = None
        self._listed_at: datetime | None = None
        self._ask_not_before = 0.0
        self._doubtful: dict[Key, str] = {}
        self._plan = Plan()
        self._waiting: tuple[Arrival, ...] = ()
        self._looked = False
        self._failures: dict[Key, Failure] = {}
        self._current: Key | None = None
        self._broke_off: Key | None = None
        self._came_of: Key | None = None
        self._came_bytes = 0
        self._rate = Rate()
        self._error: str | None = None
        self._log = structlog.get_logger()
        self.counted = Counted()

    @property
    def waiting(self) -> tuple[Arrival, ...]:
        """All that is not there yet, as it is at this moment."""
        return tuple(map(self._now, self._waiting))

    def brings(self, kind: str | None, system: System | None) -> bool:
        """Whether an item of this kind (None: any) and system is on its way, or may be.

        It may be before the first list of the source was compared with what is here.
        """
        return not self._looked or any(
            kind in (None, each.kind)
            and (each.os_type, each.os_version) == (system or (None, None))
            for each in self._waiting
        )

    @property
    def state(self) -> Fetching:
        """How it stands at this moment."""
        waiting = self.waiting
        return Fetching(
            source=self._source.url,
            listed_at=self._listed_at,
            current=self._current[1] if self._current else None,
            rate_bytes_per_s=self._rate.per_s(time.monotonic()) if self._current else 0,
            arriving=waiting[:NAMED],
            more=max(0, len(waiting) - NAMED),
            error=self._error,
            own=tuple(name for _, name in self._plan.own[:NAMED]),
        )

    async def run(self) -> None:
        """Fetch until cancelled; nothing that goes wrong with it ends the region."""
        failed = 0
        async with self._source.session() as calls:
            while True:
                before = self.counted.fetched_bytes
                try:
                    pause_s = await self._step(calls)
                    failed, self._error = 0, None
                except Exception as error:  # noqa: BLE001 - a defect here ends no region
                    self._ask_not_before = 0.0  # the list says whether the source is there
                    failed = 1 if self.counted.fetched_bytes > before else failed + 1
                    pause_s = self._failed(error, failed)
                await asyncio.sleep(pause_s)

    async def _step(self, calls: Calls) -> float:
        """Fetch at most one item; how long to wait before the next step.

        Raises:
            NotFetched: nothing can be fetched now.
            OSError, ImageError: the directory cannot be used.
        """
        listing = await self._list(calls)
        items, doubtful = self._read(listing)
        now = await self._look(items, doubtful)
        if await asyncio.to_thread(self._is_done, now, doubtful):
            return self._ask_every_s * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
        with self._copies.alone() as mine:
            if not mine:
                return TURN_S
            now = await self._look(items, doubtful)  # the one before may have done it
            await self._remove(now.remove)
            await asyncio.to_thread(self._note, now)
            if not doubtful:  # else one of them may go on where it was
                await asyncio.to_thread(self._copies.forget_unfinished, now.fetch)
            item = next((each for each in now.fetch if self._is_due(each.key)), None)
            if item is not None:
                await self._bring(calls, item)
        if item is not None or now.remove:
            await self._look(items, doubtful)
            return 0.0
        soonest = min((self._failures[each.key].not_before for each in now.fetch), default=0.0)
        return min(max(TURN_S, soonest - time.monotonic()), self._ask_every_s)

    async def _list(self, calls: Calls) -> Listing:
        """What the source has; the list before where that was asked for a moment ago.

        Raises:
            NotFetched: it cannot be asked.
        """
        if self._listing is not None and time.monotonic() < self._ask_not_before:
            return self._listing
        self._listing = await calls.listing(self._listing)
        self._listed_at = self._clock()
        self._ask_not_before = time.monotonic() + min(TURN_S, self._ask_every_s)
        return self._listing

    def _is_done(self, now: Plan, doubtful: Collection[Key]) -> bool:
        """Whether there is nothing to do in the directory."""
        if now.fetch or now.remove or now.missed or now.back:
            return False
        return bool(doubtful) or not self._copies.leftovers(())

    def _note(self, now: Plan) -> None:
        """Keep which copies the source lists no more, and since when."""
        for each in now.missed:
            self._copies.note_missing(each, self._clock())
        for each in now.back:
            self._copies.note_missing(each, None)

    def _read(self, listing: Listing) -> tuple[list[Item], dict[Key, str]]:
        """What of a list can be fetched; and what cannot, with why. New ones are told of."""
        items: list[Item] = []
        doubtful: dict[Key, str] = {}
        for each in listing.items:
            try:
                items.append(self._item(each))
            except ImageError as error:
                doubtful[each.kind, each.name] = str(error)
        for key, why in doubtful.items():
            if self._doubtful.get(key) != why:
                self._log.warning("an image of the source is not fetched", error=why)
        self._doubtful = doubtful
        same = {each.key: each.digest for each in items}
        self._failures = {
            key: each for key, each in self._failures.items() if same.get(key) == each.digest
        }
        return items, doubtful

    def _item(self, listed: Listed) -> Item:
        if listed.error is not None:
            raise ImageError(f"the control plane cannot give it: {listed.error}")
        item = item_of(listed.kind, listed.name, bytes(listed.manifest))
        if self._trust is not None and item.kind == "image":
            manifest = msgspec.json.decode(item.manifest, type=ImageManifest)
            if why := self._trust(manifest):
                raise ImageError(f"the image {item.name} {why}")
        return item

    async def _look(self, items: list[Item], doubtful: dict[Key, str]) -> Plan:
        """Decide by what is there now, and keep it for `state`."""
        held = await asyncio.to_thread(self._copies.held)
        now = plan(self._source.url, items, doubtful, held, self._needed(), now=self._clock())
        arrivals = await asyncio.to_thread(lambda: [self._arrival(each) for each in now.fetch])
        here = {each.key for each in held}
        arrivals += [
            Arrival(kind=kind, name=name, size_bytes=0, error=why[:TEXT_CHARACTERS])
            for (kind, name), why in doubtful.items()
            if (kind, name) not in here
        ]
        if now.wait != self._plan.wait and now.wait:
            names = [each.name for each in now.wait]
            self._log.info("images that the source lists no more stay for now", images=names)
        self._plan, self._waiting, self._came_of = now, tuple(arrivals), None
        self._looked = True
        return now

    def _arrival(self, item: Item) -> Arrival:
        lacking = sum(file.size_bytes - have for file, have in self._copies.missing(item))
        os_type, os_version = item.system or (None, None)
        return Arrival(
            kind=item.kind,
            name=item.name,
            size_bytes=item.size_bytes,
            done_bytes=item.size_bytes - lacking,
            os_type=os_type,
            os_version=os_version,
        )

    def _now(self, arrival: Arrival) -> Arrival:
        """What was seen of an item at the last look, with what has come and gone wrong since."""
        key = (arrival.kind, arrival.name)
        came_bytes = self._came_bytes if key == self._came_of else 0
        failure = self._failures.get(key)
        return msgspec.structs.replace(
            arrival,
            done_bytes=min(arrival.size_bytes, arrival.done_bytes + came_bytes),
            error=failure.text if failure else arrival.error,
        )

    def _is_due(self, key: Key) -> bool:
        failure = self._failures.get(key)
        return failure is None or failure.not_before <= time.monotonic()

    async def _remove(self, copies: tuple[Held, ...]) -> None:
        for each in copies:
            await asyncio.to_thread(self._copies.remove, each)
            self._log.info("an image was removed: the source has it no more", **_named(each.key))

    async def _bring(self, calls: Calls, item: Item) -> None:
        """Fetch one item; what is wrong with it alone is noted, and others go on.

        Raises:
            NotFetched: nothing can be fetched now.
        """
        self._current = self._came_of = item.key
        self._came_bytes, self._rate = 0, Rate()
        try:
            await self._fetch(calls, item)
            self._failures.pop(item.key, None)
        except (NotFetched, ImageError) as error:
            if isinstance(error, NotFetched) and error.whole:
                if not self._is_stuck(item, error):
                    raise
                text = (
                    f"it broke off twice at the same byte ({error}): look at it on the control"
                    f" plane (`lpmos image verify {item.name}`)"
                )
                error = NotFetched("broken", text)
            self._count(error)
            known = self._failures.get(item.key)
            times = known.times + 1 if known else 1
            again_s = backoff_s(times)
            if times > 1 and isinstance(error, NotFetched) and error.reason == "digest":
                again_s = DAMAGED_RETRY_S
            self._failures[item.key] = Failure(
                item.digest, str(error)[:TEXT_CHARACTERS], times, time.monotonic() + again_s
            )
            self._log.warning(
                "an image could not be fetched", **_named(item.key), error=str(error), times=times
            )
        finally:
            self._current = None

    def _is_stuck(self, item: Item, error: NotFetched) -> bool:
        """Whether it broke off twice at the same byte: that is the file's fault, not the way's."""
        if error.reason != "away":
            return False
        stuck = self._broke_off == item.key and self._came_bytes == 0
        self._broke_off = item.key
        return stuck

    async def _fetch(self, calls: Calls, item: Item) -> None:
        missing = self._copies.missing(item)
        lacking = sum(file.size_bytes - have for file, have in missing)
        check_room(lacking, self._free_bytes(self._directory), self._directory)
        began = time.monotonic()
        self._log.info("fetches an image", **_named(item.key), size_bytes=item.size_bytes,
                       missing_bytes=lacking)  # fmt: skip
        free_bytes = partial(self._free_bytes, self._directory)
        for file, _ in missing:
            path = self._copies.unfinished(file)
            await download(calls, file, path, self._came, free_bytes)
        await asyncio.to_thread(self._copies.put, item, self._source.url)
        self.counted.items += 1
        took_s = time.monotonic() - began
        self._log.info("an image has come", **_named(item.key), took_s=round(took_s, 1),
                       fetched_bytes=self._came_bytes)  # fmt: skip

    def _came(self, size_bytes: int) -> None:
        self._came_bytes += size_bytes
        self._error = None  # what kept it from going on is over
        self.counted.fetched_bytes += size_bytes
        self._rate.note(time.monotonic(), self._came_bytes)

    def _failed(self, error: Exception, times: int) -> float:
        """Say why nothing can be fetched, each reason once; how long to wait."""
        text = str(error)
        if isinstance(error, OSError):
            text = f"{self._directory} cannot be used ({error}): look at the disk and its rights"
        elif not isinstance(error, NotFetched | ImageError):
            text = f"a defect, told of in the region's log: {type(error).__name__}"
            self._log.error("images cannot be fetched", exc_info=error)
        if text[:TEXT_CHARACTERS] != self._error:
            self._log.warning("images cannot be fetched now", error=text)
        self._error = text[:TEXT_CHARACTERS]
        self._count(error)
        asked_s = error.retry_after_s if isinstance(error, NotFetched) else 0
        return max(backoff_s(times), asked_s * random.uniform(1.0, 1.5))  # noqa: S311 - no secret

    def _count(self, error: Exception) -> None:
        reason: Reason = error.reason if isinstance(error, NotFetched) else "disk"
        self.counted.failures[reason] = self.counted.failures.get(reason, 0) + 1


class Rate:
    """Bytes a second over the last `RATE_WINDOW_S` or so."""

    def __init__(self) -> None:
        self._from: tuple[float, int] | None = None
        self._then: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None

    def note(self, now: float, done_bytes: int) -> None:
        """So much has come in all."""
        self._last = (now, done_bytes)
        if self._from is None or self._then is None:
            self._from = self._then = self._last
        elif now - self._then[0] > RATE_WINDOW_S:
            self._from, self._then = self._then, self._last

    def per_s(self, now: float) -> int:
        """How fast it comes; 0 at the beginning."""
        if self._from is None or self._last is None or now <= self._from[0]:
            return 0
        return int((self._last[1] - self._from[1]) / (now - self._from[0]))


def needed_systems(fleet: Fleet) -> frozenset[System] | None:
    """The systems of a region's unfinished tasks; None where these are not known.

    While the store is away they are not: a task may have been made since.
    """
    if not fleet.connected or not fleet.listed:
        return None
    unfinished = (each for each in fleet.current_rows() if not each.finished)
    return frozenset((each.os_type, each.os_version) for each in unfinished)


def backoff_s(times: int) -> float:
    """How long to wait after so many failures in a row, half of it by chance."""
    longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(times - 1, 16))
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _named(key: Key) -> dict[str, str]:
    return {"kind": key[0], "name": key[1]}
