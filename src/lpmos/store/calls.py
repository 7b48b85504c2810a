"""What calls to the store's servers cost this process, for Prometheus (O1) and in traces (O2).

One for the process, as its connections are; each part shows them beside its own figures. Labels are
names of etcd's methods and of gRPC's statuses, so they are few.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Histogram

from lpmos.store.spans import spanned, under_way

SECONDS: Final = Histogram(
    "lpmos_store_call_seconds",
    "Time from a call to a store's server to its answer",
    ("call",),
    registry=None,
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
FAILURES: Final = Counter(
    "lpmos_store_call_failures",
    "Calls to a store's server that had no good answer, by why",
    ("call", "error"),
    registry=None,
)
COLLECTORS: Final = (SECONDS, FAILURES)


@contextmanager
def observed(call: str, server: str) -> Iterator[None]:
    """Time one call that has an answer; a span of the present trace, with or without one."""
    began = time.perf_counter()
    if under_way() is None:
        yield
    else:
        with spanned(f"etcd.{call}", {"server.address": server}, "client"):
            yield
    SECONDS.labels(call).observe(time.perf_counter() - began)


def failed(call: str, why: str) -> None:
    """Count one call that has none; `why` is gRPC's status."""
    FAILURES.labels(call, why.lower()).inc()
