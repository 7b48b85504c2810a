"""dnsmasq as a child of the region: started, read, restarted, ended; never left behind.

An orphan would go on answering DHCP for a region that is gone. So the kernel kills the child when
the region dies (prctl(2), PR_SET_PDEATHSIG), which holds only while the child keeps its user: it
stays root, but without root's capabilities and without a way to get them back.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from lpmos.region.dhcp_events import DhcpEvent, parse_line
from lpmos.region.guarded import LINE_LIMIT_BYTES, Until, end, guarded
from lpmos.region.tftp import program

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
STEADY_S = 60.0
"""A child that lived so long is restarted at once; the pauses begin anew."""
STOP_GRACE_S = 5.0
LEASE_EVENTS = frozenset({"dhcp ack", "dhcp release", "dhcp decline"})
CAPABILITIES = "-all,+net_admin,+net_raw,+net_bind_service,+setgid"
"""All that dnsmasq may have. It calls setgroups(2) whatever its group is, hence `setgid`."""


class Dnsmasq:
    """One supervised dnsmasq with a configuration file of its own."""

    def __init__(
        self,
        config_file: Path,
        *,
        idc: str,
        until: Until | None = None,
        on_lease: Callable[[], None] = lambda: None,
        on_event: Callable[[DhcpEvent], None] = lambda _: None,
    ) -> None:
        """`until`: it runs under a guard, and only while this holds; None: as long as the region.

        `on_lease` is called when it gave an address or got one back, `on_event` with all it says.
        """
        self._until = until
        self._on_lease = on_lease
        self._on_event = on_event
        self._argv = (
            program("setpriv", "util-linux"),
            *("--pdeathsig", "KILL", "--no-new-privs", "--bounding-set", CAPABILITIES, "--"),
            program("dnsmasq", "dnsmasq-base"),
            *("--keep-in-foreground", f"--conf-file={config_file}"),
        )
        self._log = structlog.get_logger().bind(idc=idc)
        self._process: asyncio.subprocess.Process | None = None
        self._reads_signals = False
        self.restarts = 0

    def reread(self) -> None:
        """Have it read its machines anew (SIGHUP); one that is not up yet will read them then."""
        process = self._process
        if process and process.returncode is None and self._reads_signals:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int | None:
        """The process id of the running dnsmasq; None while there is none."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def run(self) -> None:
        """Keep it running until cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            began = time.monotonic()
            status = await self._run_to_its_end()
            if time.monotonic() - began > STEADY_S:
                retry_s = FIRST_RETRY_S
            self._log.error(
                "dnsmasq ended; DHCP and TFTP are away until it is back",
                status=status,
                restart_in_s=retry_s,
                hint="its own words are in the lines above",
            )
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)
            self.restarts += 1

    async def _run_to_its_end(self) -> int | str:
        """Its exit status, or why the system did not start it."""
        try:
            return await self._run_once()
        except OSError as error:
            return f"not started: {error}"

    async def _run_once(self) -> int:
        started = guarded(self._until, command=self._argv) if self._until else self._started()
        async with started as process:
            self._process = process
            self._reads_signals = False
            self._log.info("dnsmasq started", pid=process.pid)
            assert process.stderr is not None  # noqa: S101 - a pipe was asked for
            await self._read(process.stderr)
            return await process.wait()

    @contextlib.asynccontextmanager
    async def _started(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            await end(process, STOP_GRACE_S)

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than the limit: its rest comes as the next line
                continue
            if not line:
                return
            self._reads_signals = True  # before its first word, SIGHUP would end it
            if event := parse_line(line.decode(errors="replace")):
                getattr(self._log, event.level)(event.event, **event.fields)
                self._on_event(event)
                if event.event in LEASE_EVENTS:
                    self._on_lease()
