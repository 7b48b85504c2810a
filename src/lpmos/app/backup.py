"""The store of `lpmos backup`, where backups are, and what the settings say of scheduled ones."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from lpmos.app import logs
from lpmos.app.backend import embedded_store, etcd_store
from lpmos.app.settings import Settings
from lpmos.core.backup.directory import Directory
from lpmos.core.backup.duty import BackupPlan
from lpmos.core.backup.making import make_backup
from lpmos.core.backup.place import Backup, Place
from lpmos.core.backup.restoring import Agree, Restored, restore
from lpmos.core.backup.verification import Verdict, prove, verify
from lpmos.core.clock import utc_now
from lpmos.model.errors import SettingsError
from lpmos.store.api import Store, Unavailable

CONNECT_TIMEOUT_S = 15.0
FILE = "file://"

T = TypeVar("T")


def place_of(settings: Settings) -> Place:
    """Where backups are: `backup_target`, or `backups` in the state directory where none is named.

    Raises:
        BackupPlaceError: the environment has something wrong in it for the object store.
    """
    directory: Path = settings.backup_dir or settings.state_dir / "backups"
    target: str | None = settings.backup_target
    if target is None:
        return Directory(directory)
    if target.startswith(FILE):
        return Directory(Path(target.removeprefix(FILE)))
    from lpmos.core.backup.objects import ObjectStore

    return ObjectStore(target, directory)


def place_named(settings: Settings) -> str:
    """The place of `place_of` as people name it."""
    return settings.backup_target or str(settings.backup_dir or settings.state_dir / "backups")


@asynccontextmanager
async def fetched(source: str) -> AsyncIterator[Path]:
    """The backup's file of this machine; an object is fetched into a directory for the time.

    Raises:
        BackupPlaceError: the object store has none of that name, or cannot be reached.
        OSError: there is no room for it.
    """
    if "://" not in source or source.startswith(FILE):
        yield Path(source.removeprefix(FILE))
        return
    from lpmos.core.backup.objects import ObjectStore

    url, _, name = source.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="lpmos-backup-") as directory:
        file = Path(directory) / name
        await ObjectStore(url, Path(directory)).fetch(name, file)
        yield file


def cluster_of(settings: Settings) -> str:
    """What names the store in a manifest: the endpoints, or the host and the file."""
    return ",".join(sorted(_endpoints(settings))) or f"{socket.gethostname()}:{_file(settings)}"


def plan_from(settings: Settings) -> BackupPlan | None:
    """The schedule that the settings ask for; None: none."""
    if not settings.backup_every_h:
        return None
    return BackupPlan(
        place=place_of(settings),
        every=timedelta(hours=settings.backup_every_h),
        keep=settings.backup_keep,
        cluster=cluster_of(settings),
        scratch=embedded_store,
    )


def create(settings: Settings) -> tuple[Backup, Verdict]:
    """Make a backup now, read it back, and restore it as a test.

    Raises:
        SettingsError: there is no store where the settings say.
        StoreLocked: `lpmos up` runs on it.
        StoreError, OSError, DamagedBackup, BackupPlaceError: as `make_backup`.
    """
    verdicts: list[Verdict] = []

    async def check(path: Path) -> None:
        verdicts.append(await prove(path, embedded_store))

    async def run() -> Backup:
        async with _opened(settings, new=False) as store:
            return await make_backup(
                store,
                place_of(settings),
                cluster=cluster_of(settings),
                clock=utc_now,
                check=check,
            )

    return _run(run()), verdicts[0]


def listed(settings: Settings) -> list[Backup]:
    """The backups of the place, the newest first."""
    return _run(place_of(settings).backups())


def verified(source: str, *, by_restoring: bool) -> Verdict:
    """Whether the backup at a path or URL is good; raises as `prove` and `fetched`."""

    async def run() -> Verdict:
        async with fetched(source) as path:
            return await (prove(path, embedded_store) if by_restoring else verify(path))

    return _run(run())


def restored(
    settings: Settings, source: str, *, agree: Agree | None, force: bool
) -> Restored | None:
    """Restore into the store that the settings name; see `lpmos.core.backup.restoring.restore`."""

    async def run() -> Restored | None:
        async with fetched(source) as path, _opened(settings, new=True) as store:
            return await restore(store, path, utc_now, agree=agree, force=force)

    return _run(run())


def _run(doing: Coroutine[Any, Any, T]) -> T:
    logs.configure("warning", "text")
    return asyncio.run(doing)


@asynccontextmanager
async def _opened(settings: Settings, *, new: bool) -> AsyncIterator[Store]:
    """The store that the settings name; the embedded one may be `new`."""
    endpoints, file = _endpoints(settings), _file(settings)
    if not endpoints and not new and not file.exists():
        raise SettingsError(
            f"there is no store at {file}: name --state-dir, or --etcd-endpoints for a cluster"
        )
    if not endpoints:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    opening = etcd_store(settings) if endpoints else embedded_store(settings.state_dir)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            store = await opening.__aenter__()
    except TimeoutError:
        raise Unavailable(f"no etcd answers at {', '.join(endpoints)}") from None
    try:
        yield store
    finally:
        await opening.__aexit__(None, None, None)


def _endpoints(settings: Settings) -> tuple[str, ...]:
    """None under `lpmos up`, which has no such setting."""
    endpoints: tuple[str, ...] = getattr(settings, "etcd_endpoints", ())
    return endpoints


def _file(settings: Settings) -> Path:
    file: Path = settings.state_dir / "store.db"
    return file
