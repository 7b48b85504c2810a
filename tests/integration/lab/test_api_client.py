"""The lab's client of the API, against a server that answers what a real one may."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lpmos.lab.api_client import ApiClient
from lpmos.lab.errors import ApiRefused

Start = Callable[[Callable[[], web.Response]], Awaitable[ApiClient]]


@pytest.fixture
async def answers() -> AsyncIterator[Start]:
    """Starts a server that gives one answer to everything; a client of it."""
    open_things: list[ApiClient | TestServer] = []

    async def start(response: Callable[[], web.Response]) -> ApiClient:
        async def handler(request: web.Request) -> web.Response:
            assert request.headers["Authorization"] == "Bearer T"
            return response()

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        server = TestServer(app)
        await server.start_server()
        client = ApiClient(str(server.make_url("/")), "T")
        await client.__aenter__()
        open_things.extend((server, client))
        return client

    yield start
    for thing in reversed(open_things):
        if isinstance(thing, ApiClient):
            await thing.__aexit__(None, None, None)
        else:
            await thing.close()


async def test_call_that_is_refused_tells_status_and_detail(
    answers: Start,
) -> None:
    problem = {"title": "The input is invalid", "detail": "mac: is missing", "status": 422}
    client = await answers(lambda: web.json_response(problem, status=422))
    with pytest.raises(ApiRefused, match="422 The input is invalid: mac: is missing") as refused:
        await client.task("T1")
    assert refused.value.status == 422


async def test_call_with_an_error_that_is_no_problem_document_shows_its_text(
    answers: Start,
) -> None:
    client = await answers(lambda: web.Response(text="<h1>Bad gateway</h1>", status=502))
    with pytest.raises(ApiRefused, match="502: <h1>Bad gateway"):
        await client.regions()
    assert not await client.ready()


async def test_call_with_a_strange_answer_is_refused(
    answers: Start,
) -> None:
    client = await answers(lambda: web.json_response({"task_id": 5}))
    with pytest.raises(ApiRefused, match="strange answer"):
        await client.task("T1")


async def test_call_to_a_closed_port_is_status_zero() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with ApiClient(f"http://127.0.0.1:{port}", "T") as client:
            assert not await client.ready()
            with pytest.raises(ApiRefused, match="no answer") as refused:
                await client.regions()
    assert refused.value.status == 0


async def test_sign_in_goes_on_with_an_api_token() -> None:
    came: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        came.append((request.path, request.headers.get("Authorization")))
        return web.json_response({"access_token": "A", "token": "T", "regions": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with (
        TestServer(app) as server,
        ApiClient(str(server.make_url("/"))) as client,
    ):
        await client.sign_in("admin", "correct horse battery")
        await client.regions()
    assert came == [
        ("/api/v1/login", None),
        ("/api/v1/tokens", "Bearer A"),
        ("/api/v1/regions", "Bearer T"),
    ]
