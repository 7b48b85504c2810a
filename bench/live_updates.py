"""1,000 browsers and 1,000 task updates a second: from the write to the last browser.

    python -m bench.live_updates

Three processes: the server (`bench.live_server`), a thousand browsers (`bench.live_browsers`), and
this one, which starts both and compares. Updates are made in the server in two ways: by the store's
transaction alone, and by `TaskStore.change`, which reads the document first, as a region in the
same process does it for its agents. An update has arrived when the last of all browsers has read
the batch that it is in. The way to there is told whole and by its parts:

- the whole, from the begin of the write: this has the limit;
- from the store's commit, as who wrote it knows of it;
- the server's own part, from a change that its store told of to the last write to a socket: its own
  metric, `lpmos_live_delivery_seconds`;
- the load generator's part: how long a frame was in a browser's socket until it was read. A real
  browser has a processor of its own; these share the server's.

CPU is of one core; the first row has the same writes and nobody listening: what is above it is the
cost of the sockets, which is also given for each message. What other programs took meanwhile is
noted: where that is much, the times are those of a busy machine. No browser may be cut off, and
none may miss an update; one that a newer update of the same task stands for is not missed: that is
how one who reads late is told, and it has arrived when the newer one has. Ends with status 1 where
one is missed or cut off, or the 99th percentile of the row of transactions is not below its limit.
"""

import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from statistics import quantiles
from typing import NamedTuple

from bench import report
from bench.live_browsers import Arrived, browse
from bench.live_server import Commit, Written, serve
from bench.parts import Used, started, watch

LIMIT_MS = 50.0
LIMITED = "transaction"
"""The way of writing that the limit is for."""
BROWSERS = 1000
UPDATES_PER_S = 1000
SECONDS = 15.0
WARM_UP_S = 3.0
LAST_WORDS_S = 1.0


class Row(NamedTuple):
    """One line of the table."""

    written_by: str
    browsers: int
    written: Written
    arrived: Arrived
    used: Used
    """By the server and the browsers, while it was written."""


class Arrival(NamedTuple):
    """How one update came to the browsers."""

    last_ns: int
    """When the last of those that have it had it, or a newer one of its task."""
    missed: bool
    """Some browser has neither it nor a newer one."""


def measure(browsers: int, updates_per_s: int, seconds: float, *, bare: bool) -> Row:
    """Start both, warm up, write, and see what arrived."""
    with started(serve, updates_per_s, bare) as server:
        port, tokens = server.link.recv()
        with started(browse, port, tokens, browsers) as listening:
            listening.link.recv()
            listening.link.send("read")
            server.link.send(WARM_UP_S)
            server.link.recv()
            used = watch(server.process, listening.process)
            server.link.send(seconds)
            written: Written = server.link.recv()
            taken = used()
            time.sleep(LAST_WORDS_S)
            listening.link.send("end")
            arrived: Arrived = listening.link.recv()
    return Row(LIMITED if bare else "task store", browsers, written, arrived, taken)


def arrivals(
    commits: Mapping[int, Commit], arrived: Arrived, browsers: int
) -> dict[int, Arrival | None]:
    """How each update came, by its begin; None where nobody was told it, nor a newer one."""
    came = _ways_over(arrived, sorted({revision for revision, _ in arrived.told.values()}))
    found: dict[int, Arrival | None] = {}
    newer: dict[str, Arrival] = {}
    for begun in sorted(commits, reverse=True):
        task_id = commits[begun].task_id
        if begun in arrived.told:
            revision, told = arrived.told[begun]
            last_ns, had = came[revision]
            stood_for = task_id in newer and not newer[task_id].missed
            missed = had < browsers or (told < arrived.sampled and not stood_for)
            newer[task_id] = Arrival(last_ns, missed)
        found[begun] = newer.get(task_id)
    return found


def _ways_over(arrived: Arrived, revisions: list[int]) -> dict[int, tuple[int, int]]:
    """For each revision when the last browser came over it, and how many did."""
    came = dict.fromkeys(revisions, (0, 0))
    for (since, until), (last_ns, count) in arrived.ways.items():
        for revision in revisions[bisect_right(revisions, since) : bisect_right(revisions, until)]:
            last_before, had = came[revision]
            came[revision] = max(last_before, last_ns), had + count
    return came


def rows_of(row: Row) -> Iterator[report.Row]:
    """The figures of one run."""
    written = row.written
    of = f"{row.browsers} browsers, written by the {row.written_by}"
    yield _server_cpu(of, written)
    if not row.browsers:
        return
    yield _browsers_cpu(of, row)
    found = arrivals(written.commits, row.arrived, row.browsers)
    known = {begun: arrival for begun, arrival in found.items() if arrival is not None}
    if known:
        yield from _times(of, row, known)
    missed = len(found) - len(known) + sum(arrival.missed for arrival in known.values())
    replaced = sum(row.arrived.told.get(begun, (0, 0))[1] < row.arrived.sampled for begun in found)
    yield report.Row(
        name=f"updates that some of {of} did not get", value=missed, bound="none", ok=not missed,
        note=f"a newer one stood for {replaced} of {len(found)}",
    )  # fmt: skip
    ended = row.arrived.cut
    codes = ", ".join(f"{count} with {code}" for code, count in sorted(ended.items()))
    yield report.Row(
        name=f"cut off or told to read again, of {of}",
        value=sum(ended.values()) + row.arrived.resyncs, bound="none",
        ok=not ended and not row.arrived.resyncs, note=codes,
    )  # fmt: skip


def _server_cpu(of: str, written: Written) -> report.Row:
    store_ms = [(commit.known_ns - begun) / 1e6 for begun, commit in written.commits.items()]
    p50, p99 = _p50_p99(store_ms)
    return report.noted(
        f"CPU of the server, {of}", 100 * written.cpu_s / written.seconds, "%",
        note=f"{written.cpu_s:.1f} s, {written.loop_cpu_s:.1f} s of it the loop;"
        f" {len(written.commits) / written.seconds:.0f} updates/s;"
        f" store p50 {p50:.1f}, p99 {p99:.1f} ms",
    )  # fmt: skip


def _browsers_cpu(of: str, row: Row) -> report.Row:
    _, browsers_s = row.used.parts
    return report.noted(
        f"CPU of the browsers, {of}", 100 * browsers_s / row.used.seconds, "%",
        note=f"{browsers_s:.1f} s; other programs {row.used.others:.1f} s"
        f" of {os.cpu_count()} cores in {row.used.seconds:.1f} s",
    )  # fmt: skip


def _times(of: str, row: Row, known: Mapping[int, Arrival]) -> Iterator[report.Row]:
    """The whole way, and its parts."""
    commits, arrived = row.written.commits, row.arrived
    whole = _p50_p99([(each.last_ns - begun) / 1e6 for begun, each in known.items()])
    committed = _p50_p99(
        [(each.last_ns - commits[begun].known_ns) / 1e6 for begun, each in known.items()]
    )
    wall_s = _heard_s(row)
    batches = arrived.frames / row.browsers / wall_s
    kilobytes = arrived.frame_bytes / wall_s / row.browsers / 1000
    note = f"{batches:.1f} batches/s, {kilobytes:.0f} kB/s each"
    yield report.noted(f"write to the last of {of}, p50", whole[0], "ms")
    name = f"write to the last of {of}, p99"
    if row.written_by == LIMITED:
        yield report.limited(name, whole[1], "ms", at_most=LIMIT_MS, note=note)
    else:
        yield report.noted(name, whole[1], "ms", note=note)
    own = [1000 * _quantile(row.written.delivered, share) for share in (0.5, 0.99)]
    for part, (p50, p99) in (
        (f"commit to the last of {of}, p99", committed),
        (f"change heard to the server's last write to one of {of}, p99", own),
        (f"in a socket until it is read, of {of}, p99", _p50_p99(list(arrived.unread_ms))),
    ):
        yield report.noted(part, p99, "ms", note=f"p50 {p50:.1f} ms")


def _p50_p99(values: list[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[98]


def _quantile(counts: dict[float, float], share: float) -> float:
    """The quantile of a histogram of Prometheus, as `histogram_quantile` has it: seconds."""
    bounds = sorted(counts)
    wanted = share * counts[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds[:-1]:
        if counts[bound] >= wanted > below:
            return lower + (bound - lower) * (wanted - below) / (counts[bound] - below)
        lower, below = bound, counts[bound]
    return lower


def _heard_s(row: Row) -> float:
    """For how long the browsers listened."""
    return row.written.seconds + WARM_UP_S + LAST_WORDS_S


def _message(silent: Row, heard: Row) -> report.Row:
    """What a message to one browser costs the server: what the same writes take beyond silence."""
    written, arrived = heard.written, heard.arrived
    copies = sum(arrived.told[begun][1] for begun in written.commits if begun in arrived.told)
    messages = copies / arrived.sampled * heard.browsers
    frames = arrived.frames * written.seconds / _heard_s(heard)
    beyond_us = 1e6 * (written.cpu_s - silent.written.cpu_s)
    return report.noted(
        f"CPU of a message to one of {heard.browsers} browsers, written by the {heard.written_by}",
        beyond_us / messages, "us",
        note=f"{messages / written.seconds:,.0f} messages/s, {beyond_us / frames:.1f} us a frame",
    )  # fmt: skip


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--browsers", type=int, default=BROWSERS)
    parser.add_argument("--updates", type=int, default=UPDATES_PER_S, help="in a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = report.chosen(parser, {"browsers": 20, "updates": 50, "seconds": 2.0})
    rows: list[report.Row] = []
    for bare in (True, False):
        runs = [
            measure(browsers, chosen.updates, chosen.seconds, bare=bare)
            for browsers in (0, chosen.browsers)
        ]
        for run in runs:
            rows += rows_of(run)
        if runs[-1].arrived.told:
            rows.append(_message(*runs))
    return report.end(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
