"""Mail and chat services, through the apprise library.

The library waits with its thread, so it has bounded threads of its own; it is imported when it is
first needed, because that takes long. What it says of a failure is kept for the person who looks,
without anything that stands in the URL. Options of a URL that would undo our bounds (redirects,
certificates, timeouts) or read files of this machine are refused, and so are services of this
machine's own (its log, its desktop).
"""

import asyncio
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from lpmos.control.notify.text import text_of
from lpmos.core.clock import Clock
from lpmos.core.notifications.webhooks import Letter
from lpmos.model.webhook import ERROR_CHARACTERS, Attempt, Outcome

log = structlog.get_logger()

THREADS = 16
TIMEOUT_S = 60.0
"""For a whole message; the library itself gives up each wait for the network much earlier."""

REFUSED_OPTIONS = frozenset(
    {"verify", "redirect", "rto", "cto", "retry", "wait", "keyfile", "subfile", "pgp", "store"}
)
LOCAL_SERVICES = frozenset(
    {"syslog", "dbus", "qt", "kde", "gnome", "glib", "gio", "windows", "macosx", "blink1", "vapid"}
)
TENANT_SERVICES = frozenset(
    {"slack", "discord", "tgram", "gchat", "pagerduty", "opsgenie", "webex", "wxteams", "pover"}
)
"""What a tenant may use: services at one known place, so that it reaches nothing of ours."""

SHORTEST_SECRET = 4


class ServiceSender:
    """Sends messages as text; `close` lets its threads go."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="notify")
        self._turn = asyncio.Semaphore(THREADS)

    async def refusal(self, url: str, tenant: str | None) -> str | None:
        """Why a webhook cannot have this URL; None where it can."""
        scheme = urlsplit(url).scheme
        if tenant is not None and scheme not in TENANT_SERVICES:
            return (
                f"a tenant's webhook is http, https, or one of {', '.join(sorted(TENANT_SERVICES))}"
            )
        if scheme in LOCAL_SERVICES:
            return f"{scheme} is a service of this machine's own"
        options = {name.lower() for name, _ in parse_qsl(urlsplit(url).query, True)}
        if found := sorted(options & REFUSED_OPTIONS):
            return f"the option {found[0]} is not allowed"
        loop = asyncio.get_running_loop()
        async with self._turn:
            known = await loop.run_in_executor(self._threads, _is_known, url)
        return None if known else "is neither http(s) nor the URL of a service that is known"

    async def send(self, letter: Letter) -> Outcome:
        """Send the message once; whatever goes wrong is told in the outcome."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            at, started = self._clock(), time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    error = await loop.run_in_executor(self._threads, _send, letter)
            except TimeoutError:
                error = f"no answer within {TIMEOUT_S:g} s"
        return _outcome(at, started, error)

    async def close(self) -> None:
        """Take no more; a message on its way is let go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _outcome(at: datetime, started: float, error: str | None) -> Outcome:
    duration_ms = round((time.perf_counter() - started) * 1000)
    attempt = Attempt(at=at, duration_ms=duration_ms, error=error and error[:ERROR_CHARACTERS])
    return Outcome(attempt=attempt, accepted=error is None)


class _Library:
    """The library once it is imported, and what it says in each thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._module: ModuleType | None = None
        self.said = _Said()

    def service(self, url: str) -> Any:
        """The service of a URL, or None."""
        apprise = self.imported()
        asset = apprise.AppriseAsset(
            app_id="LPMOS",
            app_desc="LPMOS",
            async_mode=False,
            http_redirects=False,
            pem_autogen=False,
            pgp_autogen=False,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
        )
        service = apprise.Apprise.instantiate(url, asset=asset)
        return service if service and service.enabled else None

    def imported(self) -> ModuleType:
        """The library, imported at the first call."""
        with self._lock:
            if self._module is None:
                import apprise

                library = logging.getLogger("apprise")
                library.propagate = False  # it may say what stands in a URL
                library.addHandler(self.said)
                logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs paths
                self._module = apprise
            return self._module


class _Said(logging.Handler):
    """Keeps what the library warns of, for each thread by itself."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._here = threading.local()

    def begin(self) -> None:
        """Forget what was said in this thread."""
        self._here.lines = []

    def lines(self) -> list[str]:
        """What was said in this thread since `begin`."""
        return list(getattr(self._here, "lines", ()))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if hasattr(self._here, "lines"):
            self._here.lines.append(record.getMessage())


_library = _Library()


def _is_known(url: str) -> bool:
    _library.imported()
    try:
        return _library.service(url) is not None
    except Exception as error:  # noqa: BLE001 - a service's own check of a URL has a defect
        log.warning("a service cannot check its URL", error=type(error).__name__)
        return False


def _send(letter: Letter) -> str | None:
    """Send it with this thread; what went wrong, or None."""
    _library.imported()
    _library.said.begin()
    try:
        service = _library.service(letter.url)
        if service is None:
            return "the library does not know this service any more"
        text = text_of(letter.payload)
        if service.notify(body=text.body, title=text.title):
            return None
    except Exception as error:  # noqa: BLE001 - a service's defect; its text may have secrets in it
        log.warning("a service failed", error=type(error).__name__)
        return f"the service failed: {type(error).__name__}"
    said = "; ".join(_library.said.lines()) or "the service did not take it"
    return without_parts(said, letter.url)


def without_parts(text: str, url: str) -> str:
    """The text without anything that stands in the URL."""
    parts = {part for form in (url, unquote(url)) for part in re.split(r"[/:@?&=,;#+\s]+", form)}
    secret = sorted((part for part in parts if len(part) >= SHORTEST_SECRET), key=len, reverse=True)
    for part in secret:
        text = text.replace(part, "…")
    return " ".join(text.split())
