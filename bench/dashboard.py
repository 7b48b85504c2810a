"""The fleet's page in Chromium over a control plane with 10,000 tasks, 1,000 of which install.

    python -m bench.dashboard

The control plane is that of `bench.live_server`: a whole one over the embedded store, in a process
of its own, in which 1,000 updates a second are written. The browser is Debian's Chromium, headless
and without a GPU: what is drawn is drawn by the processor, on the same cores as the server. The
figures:

- first page: from the start of the navigation, with an empty cache, until the first rows are
  painted and the main thread is free again; the median of several visits;
- main thread: what part of the time it was busy with 1,000 updates a second (`TaskDuration` of
  Chromium's own metrics), with the updated rows in sight, at rest and while it scrolls;
- frames: how many a second while the list scrolls by 60 px in each, with the same updates;
- memory: the heap after a forced collection at the end over that at the begin;
- script: all chunks, as they come over the wire.

Ends with status 1 where a figure is beyond its limit.
"""

import asyncio
import shutil
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import httpx
from bench import report
from bench.live_server import TASKS, serve
from bench.parts import received, started
from playwright.async_api import Browser, CDPSession, Page, async_playwright

from lpmos.control.pages import load_files

FIRST_PAGE_LIMIT_MS = 1000.0
BUSY_LIMIT = 0.5
FRAMES_LIMIT_PER_S = 50.0
MEMORY_RATIO_LIMIT = 1.1
SCRIPT_LIMIT_KB = 200.0

UPDATES_PER_S = 1000
FLEET = 10_000
VISITS = 7
SECONDS = 15.0
WARM_UP_S = 15.0
"""Until the page has as many messages as it keeps for answers that are under way."""

MEMORY_S = 600.0
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")

USABLE = """
window.usable = new Promise((resolve) => {
  const look = () => {
    if (!document.querySelector("[role=table] [role=cell] a")) return requestAnimationFrame(look);
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
  };
  addEventListener("DOMContentLoaded", look);
});
"""
SCROLL = """
(seconds) => new Promise((resolve) => {
  const times = [];
  const begin = performance.now();
  const step = (now) => {
    times.push(now);
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 10;
    scrollBy({ top: atEnd ? -1e9 : 60, behavior: "instant" });
    if (now - begin < seconds * 1000) requestAnimationFrame(step);
    else resolve(times.slice(1).map((time, number) => time - times[number]));
  };
  requestAnimationFrame(step);
})
"""


class Fleet(NamedTuple):
    """A control plane in a process of its own."""

    link: Connection
    url: str
    token: str

    async def write(self, seconds: float) -> float:
        """Let it write for so long; how many updates a second it made."""
        self.link.send(seconds)
        written = await received(self.link)
        return float(len(written.commits) / written.seconds)


@asynccontextmanager
async def _fleet(tasks: int) -> AsyncIterator[Fleet]:
    with started(serve, UPDATES_PER_S, True, max(0, tasks - TASKS), "admin") as server:
        port, tokens = await received(server.link)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{url}/health/ready")).status_code == httpx.codes.OK:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        yield Fleet(server.link, url, tokens[0])


@asynccontextmanager
async def _page(browser: Browser, fleet: Fleet) -> AsyncIterator[Page]:
    """A page of somebody who is signed in and was never here before."""
    context = await browser.new_context(viewport={"width": 1400, "height": 900})
    signed = await context.request.post(f"{fleet.url}/api/v1/session", data={"token": fleet.token})
    if not signed.ok:
        raise RuntimeError(f"the control plane answered {signed.status}")
    page = await context.new_page()
    await page.add_init_script(USABLE)
    await page.goto(fleet.url)
    await page.evaluate("window.usable")
    yield page
    await context.close()


async def _first_page(browser: Browser, fleet: Fleet, visits: int) -> report.Row:
    times_ms: list[float] = []
    for _ in range(visits):
        async with _page(browser, fleet) as page:
            times_ms.append(await page.evaluate("window.usable"))
    return report.limited(
        "first page", statistics.median(times_ms), "ms", at_most=FIRST_PAGE_LIMIT_MS,
        note=f"from {min(times_ms):.0f} to {max(times_ms):.0f}",
    )  # fmt: skip


class Busy(NamedTuple):
    """What the main thread did while something was done."""

    part: float
    """Of the time."""
    updates_per_s: float
    result: Any


async def _busy(
    session: CDPSession, fleet: Fleet, seconds: float, act: Awaitable[Any] | None = None
) -> Busy:
    """The main thread while so many seconds of updates come, and something is done beside."""
    before = await _metrics(session)
    rate, result = await asyncio.gather(fleet.write(seconds), act or asyncio.sleep(seconds))
    after = await _metrics(session)
    took_s = after["Timestamp"] - before["Timestamp"]
    return Busy((after["TaskDuration"] - before["TaskDuration"]) / took_s, rate, result)


async def _metrics(session: CDPSession) -> dict[str, float]:
    found = await session.send("Performance.getMetrics")
    return {each["name"]: each["value"] for each in found["metrics"]}


async def _under_load(
    page: Page, session: CDPSession, fleet: Fleet, seconds: float
) -> list[report.Row]:
    """With the rows that are updated in sight: at rest, then scrolling over all of them."""
    resting = await _busy(session, fleet, seconds)
    scrolling = await _busy(session, fleet, seconds, page.evaluate(SCROLL, seconds))
    gaps_ms: list[float] = scrolling.result
    late_ms = statistics.quantiles(gaps_ms, n=100)[98]
    frames_per_s = 1000 * len(gaps_ms) / sum(gaps_ms)
    await page.evaluate("scrollTo(0, 0)")
    return [
        report.limited(
            "main thread busy, part of the time", resting.part, at_most=BUSY_LIMIT,
            note=f"{resting.updates_per_s:.0f} updates/s",
        ),
        report.limited(
            "main thread busy while it scrolls", scrolling.part, at_most=1.0,
            note=f"{scrolling.updates_per_s:.0f} updates/s",
        ),
        report.limited(
            "frames while it scrolls", frames_per_s, "/s", at_least=FRAMES_LIMIT_PER_S,
            note=f"p99 {late_ms:.0f} ms from one to the next",
        ),
    ]  # fmt: skip


async def _memory(session: CDPSession, fleet: Fleet, seconds: float) -> report.Row:
    begin = await _heap_bytes(session)
    await fleet.write(seconds)
    end = await _heap_bytes(session)
    return report.compared(
        "heap after a long time", end / 1e6, "MB", ("before", begin / 1e6),
        at_most=MEMORY_RATIO_LIMIT, note=f"{seconds / 60:.1f} min",
    )  # fmt: skip


async def _heap_bytes(session: CDPSession) -> float:
    for _ in range(2):
        await session.send("HeapProfiler.collectGarbage")
    return (await _metrics(session))["JSHeapUsedSize"]


async def _script(fleet: Fleet) -> report.Row:
    """Every chunk, fetched as a browser does, and counted as it came."""
    names = [name for name in load_files("dashboard/assets") if name.endswith(".js")]
    total = 0
    headers = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    async with httpx.AsyncClient(headers=headers) as client:
        for name in names:
            async with client.stream("GET", f"{fleet.url}/assets/{name}") as answer:
                answer.raise_for_status()
                total += sum([len(part) async for part in answer.aiter_raw()])
    return report.limited(
        "script over the wire", total / 1e3, "kB", at_most=SCRIPT_LIMIT_KB,
        note=f"{len(names)} chunks",
    )  # fmt: skip


async def _measure(tasks: int, visits: int, seconds: float, memory_s: float) -> list[report.Row]:
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("this needs Chromium: apt-get install chromium")
    async with _fleet(tasks) as fleet, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        figures = [await _script(fleet), await _first_page(browser, fleet, visits)]
        async with _page(browser, fleet) as page:
            session = await page.context.new_cdp_session(page)
            await session.send("Performance.enable")
            await session.send("HeapProfiler.enable")
            await fleet.write(WARM_UP_S)
            figures += await _under_load(page, session, fleet, seconds)
            figures.append(await _memory(session, fleet, memory_s))
        await browser.close()
    return figures


def main() -> int:
    """Measure and print; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=FLEET)
    parser.add_argument("--visits", type=int, default=VISITS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each part under load")
    parser.add_argument("--memory-seconds", type=float, default=MEMORY_S)
    quick = {"tasks": TASKS, "visits": 1, "seconds": 2.0, "memory_seconds": 2.0}
    chosen = report.chosen(parser, quick)
    measured = _measure(chosen.tasks, chosen.visits, chosen.seconds, chosen.memory_seconds)
    return report.end(asyncio.run(measured), chosen)


if __name__ == "__main__":
    sys.exit(main())
