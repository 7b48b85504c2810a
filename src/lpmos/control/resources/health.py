"""Is it alive, is it of use, and the metrics (A13).

Health needs no token, so it tells nothing of the fleet and asks the store at most once a second,
however often it is called.
"""

import asyncio
from typing import Literal

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from lpmos.control.access import PUBLIC, needs
from lpmos.control.http.observation import Observation
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.limits import UNLIMITED
from lpmos.core.fleet import Fleet
from lpmos.core.storecare import judged
from lpmos.model.access import Permission
from lpmos.store.api import Store, StoreError

STORE_TIMEOUT_S = 2.0
STORE_ASKED_EVERY_S = 1.0


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The store as this control plane sees it; `connected` says that changes are being heard.

    `in_use_bytes` is what of its size is not free inside; beyond `quota_bytes` it takes no writes
    (null: not known). `hint` says what to do where room runs out.
    """

    connected: bool
    healthy: bool
    backend: str | None = None
    revision: int | None = None
    alarms: tuple[str, ...] = ()
    size_bytes: int | None = None
    in_use_bytes: int | None = None
    quota_bytes: int | None = None
    hint: str | None = None
    error: str | None = None


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/health`; `degraded` means alive but of no use until the store is back."""

    status: Literal["ok", "degraded"]
    live: bool
    ready: bool
    store: StoreHealth


NOT_READY = ResponseSpec(HealthView, description="Send no requests here for now.")


class Health:
    """Asks the store how it is, and remembers the answer for a moment."""

    def __init__(self, store: Store, fleet: Fleet) -> None:
        self._store = store
        self._fleet = fleet
        self._asking = asyncio.Lock()
        self._asked_at: float | None = None
        self._answer = StoreHealth(connected=False, healthy=False)

    async def look(self) -> HealthView:
        """How this control plane is now."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._asked_at is None or now - self._asked_at >= STORE_ASKED_EVERY_S:
                self._answer = await self._ask()
                self._asked_at = asyncio.get_running_loop().time()
        store = msgspec.structs.replace(self._answer, connected=self._fleet.connected)
        ready = store.connected and store.healthy
        return HealthView(status="ok" if ready else "degraded", live=True, ready=ready, store=store)

    async def _ask(self) -> StoreHealth:
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                status = await self._store.status()
        except StoreError as error:
            return StoreHealth(connected=False, healthy=False, error=error.code)
        except TimeoutError:
            return StoreHealth(connected=False, healthy=False, error="timeout")
        return StoreHealth(
            connected=False,
            healthy=status.healthy,
            backend=status.backend,
            revision=status.revision,
            alarms=status.alarms,
            size_bytes=status.size_bytes,
            in_use_bytes=status.in_use_bytes,
            quota_bytes=status.quota_bytes,
            hint=judged(status).hint,
        )


@get("/health", opt={**PUBLIC, **UNLIMITED})
async def show_health(health: NamedDependency[Health]) -> HealthView:
    """How the control plane is; 200 as long as it can answer."""
    return await health.look()


@get("/health/live", opt={**PUBLIC, **UNLIMITED})
async def show_liveness() -> dict[str, str]:
    """200 while the process answers; restart it when it does not."""
    return {"status": "ok"}


@get("/health/ready", responses={503: NOT_READY}, opt={**PUBLIC, **UNLIMITED})
async def show_readiness(health: NamedDependency[Health]) -> Response[HealthView]:
    """200 when requests can be served, else 503: send none here for now."""
    view = await health.look()
    if view.ready:
        return Response(view)
    return Response(view, status_code=503, headers={"Retry-After": "5"})


@get(
    "/metrics",
    media_type=MediaType.TEXT,
    responses=PROBLEMS,
    opt=needs(Permission.METRICS_READ),
)
async def show_metrics(observation: NamedDependency[Observation]) -> Response[bytes]:
    """Metrics in the text format of Prometheus; needs a token like any other call."""
    return Response(observation.text(), media_type="text/plain; version=0.0.4")


HEALTH_CALLS = (show_health, show_liveness, show_readiness, show_metrics)
