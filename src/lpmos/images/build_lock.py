"""One build at a time in a cache directory: a second one waits for the first."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lpmos.images.progress import Progress
from lpmos.model.errors import ImageError

LOCK_TIMEOUT_S = 3600.0
LOCK_POLL_S = 0.5


@contextmanager
def building_in(
    cache_dir: Path, progress: Progress, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[None]:
    """Hold the cache directory, which is made where it is missing; the kernel frees it on any end.

    Raises:
        ImageError: another build held it for the whole of `timeout_s`.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lock").open("ab") as file:
        give_up = time.monotonic() + timeout_s
        while not _locked(file.fileno()):
            if time.monotonic() >= give_up:
                raise ImageError(
                    f"another build has held {cache_dir} for {timeout_s:.0f} s: wait for it, or"
                    " name another cache directory"
                )
            progress("waiting", 0.0, f"another build is using {cache_dir}")
            time.sleep(LOCK_POLL_S)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
