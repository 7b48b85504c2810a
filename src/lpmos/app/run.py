"""Running a part until a signal ends it: the store outermost, then what uses it.

SIGTERM and SIGINT end it. SIGHUP does not: a control plane looks at its certificate at once, and
nothing else is read again without a restart. Each part imports only what it needs.
"""

import asyncio
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import structlog

from lpmos.app import logs, settled
from lpmos.app.backend import embedded_store, etcd_store, etcd_store_later
from lpmos.app.settings import Settings
from lpmos.app.settings_table import CONTROL, REGION, UP
from lpmos.model.errors import LpmosError

log = structlog.get_logger()

ONE_MACHINE_IDC = "dc1"
"""The data center of `lpmos up` where none is named."""
TURN_S = 0.0005
"""How long a thread that works goes on while another waits for its turn. Python's own 5 ms are for
computing: a thread that writes small files waited so long at each of them beside a busy loop."""
FILES = 65_536
"""Open files and connections, as far as the system allows: its usual 1,024 are few agents."""


async def _up(settings: Settings, hung_up: asyncio.Event) -> None:
    from lpmos.app.control_plane import run_control_plane
    from lpmos.app.region import run_region

    settings = settings.with_default("idc", ONE_MACHINE_IDC)
    async with embedded_store(settings.state_dir) as store, asyncio.TaskGroup() as group:
        group.create_task(run_control_plane(settings, store, hung_up), name="control plane")
        group.create_task(run_region(settings, store, stands=False), name="region")


async def _control_plane(settings: Settings, hung_up: asyncio.Event) -> None:
    settled.begin()
    from lpmos.app.control_plane import run_control_plane

    async with etcd_store(settings) as store:
        await run_control_plane(settings, store, hung_up)


async def _region(settings: Settings, _hung_up: asyncio.Event) -> None:
    settled.begin()
    from lpmos.app.region import run_region

    async with etcd_store_later(settings) as store:
        await run_region(settings, store, stands=True)


PARTS: Mapping[str, Callable[[Settings, asyncio.Event], Awaitable[None]]] = MappingProxyType(
    {UP: _up, CONTROL: _control_plane, REGION: _region}
)


def run(part: str, settings: Settings) -> int:
    """Run a part until SIGTERM or SIGINT; the exit code.

    Raises:
        LpmosError: it could not start or go on; where several things failed, the first of them.
    """
    logs.configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(TURN_S)
    _allow_files()
    label = {"idc": settings.idc} if part == REGION and settings.idc else {}
    try:
        with structlog.contextvars.bound_contextvars(**label):
            asyncio.run(_until_signalled(part, settings))
    except BaseExceptionGroup as group:
        raise _first_cause(group) from group
    return 0


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until_signalled(part: str, settings: Settings) -> None:
    hung_up = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _hang_up, part, hung_up)
    running = asyncio.ensure_future(PARTS[part](settings, hung_up))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, running, number)
    try:
        await running
    except asyncio.CancelledError:
        log.info("stopped", part=part)


def _stop(running: "asyncio.Future[None]", number: signal.Signals) -> None:
    log.info("stopping", signal=signal.Signals(number).name)
    running.cancel()


def _hang_up(part: str, hung_up: asyncio.Event) -> None:
    read = "the certificate" if part != REGION else "nothing"
    log.info("SIGHUP: goes on", read_again=read, hint="restart to change settings")
    hung_up.set()


def _first_cause(group: BaseException) -> BaseException:
    """The error of ours in a group, else the first of any kind."""
    causes = list(_leaves(group))
    return next((cause for cause in causes if isinstance(cause, LpmosError)), causes[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
