"""A task's log over HTTP: the store's newest lines, and all of it from the region that has it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from lpmos.control.region_logs import MOST_AT_ONCE, MOST_OF_ONE_USER, LogAway, RegionLogs
from lpmos.core.clock import utc_now
from lpmos.core.logproof import LogProofs
from lpmos.core.taskstore import logged
from lpmos.model.access import Role
from lpmos.model.errors import TooBusy
from lpmos.model.region import Heartbeat, RegionClient
from lpmos.model.standing import Standing
from lpmos.store import keys, records
from tests.support.builders import NOW, make_task
from tests.support.control_plane import TIMEOUT_S, RunningControlPlane
from tests.support.control_plane import running as running_control_plane
from tests.support.polling import ANSWER_TIMEOUT_S, until
from tests.support.region import running as running_region
from tests.support.served import served

TASK = logged(make_task(), NOW, *(f"[INFO] line {number}" for number in range(1, 131)))
LOG = f"/api/v1/tasks/{TASK.task_id}/log"
SOURCE = "Lpmos-Log-Source"
PROOFS = LogProofs(bytes(32), utc_now)


async def _heartbeat(control_plane: RunningControlPlane, api_url: str | None) -> None:
    beat = Heartbeat(idc="dc1", identity="a", at=NOW, services={}, api_url=api_url)
    revision = await control_plane.store.put(keys.heartbeat("dc1"), records.encode(beat))
    async with asyncio.timeout(TIMEOUT_S):
        await control_plane.fleet.wait_for_revision(revision)


async def _client(control_plane: RunningControlPlane, identity: str, api_url: str) -> None:
    client = RegionClient(
        idc="dc1",
        identity=identity,
        standing=Standing.STANDBY,
        since=NOW,
        at=NOW,
        address="127.0.0.1",
        api_url=api_url,
        version="0.1.0",
    )
    key = keys.region_client("dc1", identity)
    revision = await control_plane.store.put(key, records.encode(client))
    async with asyncio.timeout(TIMEOUT_S):
        await control_plane.fleet.wait_for_revision(revision)


@asynccontextmanager
async def _region(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """The address of a region that answers every call so."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with served(app) as url:
        yield url


async def test_log_gives_the_newest_lines_and_what_is_missed(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(TASK)
    log = (await api.get(LOG)).json()
    assert (log["first"], log["next"], log["missed"], len(log["lines"])) == (31, 130, 30, 100)
    assert (log["status"], log["finished"]) == ("pending", False)
    rest = (await api.get(f"{LOG}?after=128")).json()
    assert (rest["first"], rest["missed"]) == (129, 0)
    assert [line.rpartition("] ")[2] for line in rest["lines"]] == ["line 129", "line 130"]
    for after in (130, 10_000):
        none = (await api.get(f"{LOG}?after={after}")).json()
        assert (none["first"], none["next"], none["missed"], none["lines"]) == (131, 130, 0, [])
    assert (await api.get(f"{LOG}?after=-1")).status_code == 422


async def test_log_is_not_for_another_tenants_user(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(TASK)
    other = {"Authorization": f"Bearer {await control_plane.as_user([Role.ADMIN], 'a')}"}
    for path in (LOG, f"{LOG}/download"):
        assert (await api.get(path, headers=other)).status_code == 404


async def test_download_brings_the_whole_log_from_a_real_region(tmp_path: Path) -> None:
    async with running_region(tmp_path) as region:
        task = await region.installing_task()
        await region.progress(task, "partitioning", 10, log=["[INFO] one line", "[WARN] another"])
        async with running_control_plane(region.embedded) as control_plane:
            headers = {"Authorization": f"Bearer {control_plane.token}"}
            async with httpx.AsyncClient(
                base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
            ) as api:
                answer = await api.get(f"/api/v1/tasks/{task.task_id}/log/download")
    assert (answer.status_code, answer.headers[SOURCE]) == (200, "region")
    assert answer.headers["content-type"].startswith("text/plain")
    assert f"task-{task.task_id}.log" in answer.headers["content-disposition"]
    assert "[INFO] [agent] one line\n" in answer.text and "[WARN] [agent] another\n" in answer.text


async def test_region_gives_a_log_to_its_control_planes_only(tmp_path: Path) -> None:
    async with running_region(tmp_path) as region:
        task = await region.installing_task()
        await region.progress(task, "partitioning", 10, log=["[INFO] one line"])
        path = f"/api/v1/tasks/{task.task_id}/log"
        assert (await region.text(path))[0] == 200  # as an older control plane asks
        async with running_control_plane(region.embedded) as control_plane:

            async def closed() -> bool:
                return (await region.text(path))[0] == 401

            await until(closed, TIMEOUT_S)
            for proof in (PROOFS.proof("dc1", task.task_id), control_plane.token, "x", ""):
                headers = {"Authorization": f"Bearer {proof}"}
                async with region.http.get(region.url + path, headers=headers) as answer:
                    assert answer.status == 401
            headers = {"Authorization": f"Bearer {control_plane.token}"}
            async with httpx.AsyncClient(
                base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
            ) as api:
                given = await api.get(f"{path}/download")
    assert (given.headers[SOURCE], "[INFO] [agent] one line\n" in given.text) == ("region", True)


@pytest.mark.parametrize(
    ("api_url", "why"),
    [
        (None, "names no address"),
        ("http://169.254.169.254:80", "names no address"),
        ("http://metadata.internal:80", "names no address"),
        ("http://127.0.0.1:1", "cannot be reached"),
    ],
)
async def test_download_without_the_region_says_so_and_gives_what_the_store_has(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, api_url: str | None, why: str
) -> None:
    await control_plane.put_task(TASK)
    await _heartbeat(control_plane, api_url)
    answer = await api.get(f"{LOG}/download")
    head, *lines = answer.text.splitlines()
    assert (answer.status_code, answer.headers[SOURCE]) == (200, "store")
    assert why in head and len(lines) == 100


async def test_download_of_a_log_in_two_parts_is_in_order_of_time(
    control_plane: RunningControlPlane,
) -> None:
    parts = (
        "2026-11-21T07:00:01.000Z [INFO] first\n2026-11-21T07:00:03.000Z [INFO] third\nand it\n",
        "2026-11-21T07:00:02.000Z [INFO] second\n2026-11-21T07:00:04.000Z [INFO] fourth",
    )

    def answer(text: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def part(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text)

        return part

    async def missing(_: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    logs = RegionLogs(control_plane.fleet, PROOFS)
    async with (
        _region(answer(parts[0])) as a,
        _region(answer(parts[1])) as b,
        _region(missing) as c,
    ):
        for name, url in (("a", a), ("b", b), ("c", c), ("d", "http://127.0.0.1:1")):
            await _client(control_plane, name, url)
        pieces = [piece async for piece in await logs.open("dc1", TASK.task_id, "ann")]
    words = [line.split()[-1] for line in b"".join(pieces).decode().splitlines()]
    assert words == ["first", "second", "third", "it", "fourth"]


async def test_download_from_an_offline_region_says_so(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(TASK)
    answer = await api.get(f"{LOG}/download")
    assert (answer.headers[SOURCE], "is offline" in answer.text) == ("store", True)


async def test_download_takes_nothing_but_a_log_from_a_region(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.headers.get("Authorization")))
        if len(asked) == 1:
            raise web.HTTPFound("/elsewhere")
        if len(asked) == 2:
            return web.json_response({"secret": "s3cret"})
        raise web.HTTPNotFound

    await control_plane.put_task(TASK)
    async with _region(answer) as url:
        await _heartbeat(control_plane, url)
        for said in ("answered with 302", "answered with 200", "keeps no log"):
            found = await api.get(f"{LOG}/download")
            assert (found.headers[SOURCE], said in found.text) == ("store", True)
            assert "s3cret" not in found.text
    assert [path for path, _ in asked] == [LOG] * 3
    assert all(shown and control_plane.token not in shown for _, shown in asked)


async def test_download_that_breaks_off_or_is_too_long_says_so_at_its_end(
    control_plane: RunningControlPlane,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"a line\n")
        await asyncio.Event().wait()  # until the connection ends
        return response

    async with _region(answer) as url:
        await _heartbeat(control_plane, url)
        silent = RegionLogs(control_plane.fleet, PROOFS, read_timeout_s=2.0)
        pieces = [piece async for piece in await silent.open("dc1", TASK.task_id, "ann")]
        assert b"".join(pieces).startswith(b"a line\n\n[WARN] the log broke off here")
        short = RegionLogs(control_plane.fleet, PROOFS, most_bytes=4)
        pieces = [piece async for piece in await short.open("dc1", TASK.task_id, "ann")]
        assert b"".join(pieces).startswith(b"a li\n[WARN] the log broke off here: it is too long")


async def test_downloads_beyond_the_limit_are_refused_until_one_ends(
    control_plane: RunningControlPlane,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="a line\n")

    async with _region(answer) as url:
        await _heartbeat(control_plane, url)
        logs = RegionLogs(control_plane.fleet, PROOFS)
        held = [await logs.open("dc1", TASK.task_id, f"u{n}") for n in range(MOST_AT_ONCE)]
        with pytest.raises(TooBusy, match=str(MOST_AT_ONCE)):
            await logs.open("dc1", TASK.task_id, "ann")
        await held.pop().aclose()
        held.append(await logs.open("dc1", TASK.task_id, "ann"))
        for pieces in held:
            await pieces.aclose()


async def test_downloads_of_one_user_beyond_the_limit_leave_the_others_their_places(
    control_plane: RunningControlPlane,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="a line\n")

    async with _region(answer) as url:
        await _heartbeat(control_plane, url)
        logs = RegionLogs(control_plane.fleet, PROOFS)
        held = [await logs.open("dc1", TASK.task_id, "ann") for _ in range(MOST_OF_ONE_USER)]
        with pytest.raises(TooBusy, match="you download"):
            await logs.open("dc1", TASK.task_id, "ann")
        held.append(await logs.open("dc1", TASK.task_id, "bob"))
        await held.pop(0).aclose()
        held.append(await logs.open("dc1", TASK.task_id, "ann"))
        for pieces in held:
            await pieces.aclose()


async def test_downloads_that_fail_leave_no_place_taken(control_plane: RunningControlPlane) -> None:
    await _heartbeat(control_plane, "http://127.0.0.1:1")
    logs = RegionLogs(control_plane.fleet, PROOFS)
    for _ in range(2 * MOST_AT_ONCE):
        with pytest.raises(LogAway):
            await logs.open("dc1", TASK.task_id, "ann")
