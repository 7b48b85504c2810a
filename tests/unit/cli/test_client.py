"""The client against a server in the same process: what is repeated, what is said of an error."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from lpmos.cli.client import ATTEMPTS, LONGEST_WAIT_S, Client, Content, Fixed, Nobody
from lpmos.cli.failures import Exit, NoAnswer, NotSignedIn, Refused, exit_for
from lpmos.model.tracecontext import TraceContext

URL = "http://lpmos.example:8080"
OK: dict[str, Any] = {"fine": True}


class Server:
    """Answers one after the other, and what was asked; the last answer is repeated."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Renewing:
    """A credential whose token is renewed once."""

    def __init__(self) -> None:
        self.tokens = ["old", "new"]

    def token(self, client: Client) -> str:
        return self.tokens[0]

    def renew(self, client: Client, refused: str) -> bool:
        if len(self.tokens) < 2 or refused != self.tokens[0]:
            return False
        del self.tokens[0]
        return True


Made = Callable[[Server], Client]


@pytest.fixture
def paused() -> list[float]:
    return []


@pytest.fixture
def made(paused: list[float]) -> Iterator[Made]:
    clients: list[Client] = []

    def make(server: Server) -> Client:
        transport = httpx.MockTransport(server)
        clients.append(Client(URL, Fixed("T"), transport=transport, sleep=paused.append))
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def answer(status: int = 200, document: Any = None, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=OK if document is None else document, headers=headers)


def problem(status: int, *, retry_after: str = "", **members: Any) -> httpx.Response:
    headers = {"Content-Type": "application/problem+json"}
    if retry_after:
        headers["Retry-After"] = retry_after
    return httpx.Response(status, content=json.dumps(members).encode(), headers=headers)


def test_client_sends_the_token_the_path_and_the_parameters(made: Made) -> None:
    server = Server(answer())
    assert made(server).get("tasks", idc="dc1", status=None, limit=5) == OK
    (request,) = server.asked
    assert str(request.url) == f"{URL}/api/v1/tasks?idc=dc1&limit=5"
    assert request.headers["authorization"] == "Bearer T"


def test_client_sends_a_change_with_its_conditions(made: Made) -> None:
    server = Server(answer(201, ETag='"7"'))
    done = made(server).call("PUT", "rules/a", {"x": 1}, if_match='"6"', idempotency_key="k")
    assert done.etag == '"7"'
    (request,) = server.asked
    assert json.loads(request.content) == {"x": 1}
    assert (request.headers["if-match"], request.headers["idempotency-key"]) == ('"6"', "k")


def test_client_reads_again_after_as_long_as_the_server_says(
    made: Made, paused: list[float]
) -> None:
    server = Server(problem(503, retry_after="3"), problem(429, retry_after="1"), answer())
    assert made(server).get("tasks") == OK
    assert paused == [3.0, 1.0]


def test_client_repeats_a_change_with_an_idempotency_key(made: Made) -> None:
    server = Server(problem(503, retry_after="1"), httpx.ReadError("gone"), answer(201))
    assert made(server).call("POST", "tasks", {}, idempotency_key="k").status == 201
    assert [each.headers["idempotency-key"] for each in server.asked] == ["k"] * 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_client_never_repeats_another_change(made: Made, method: str) -> None:
    server = Server(problem(503, retry_after="1"), answer())
    with pytest.raises(Refused):
        made(server).call(method, "tasks", {})
    assert len(server.asked) == 1


def test_client_gives_up_after_some_attempts(made: Made, paused: list[float]) -> None:
    server = Server(problem(503, title="The store cannot be used now"))
    with pytest.raises(Refused) as refused:
        made(server).get("tasks")
    assert exit_for(refused.value) is Exit.AWAY
    assert len(server.asked) == ATTEMPTS and len(paused) == ATTEMPTS - 1


def test_client_does_not_wait_longer_than_a_person_would(made: Made) -> None:
    server = Server(problem(503, retry_after=str(int(LONGEST_WAIT_S) + 1)))
    with pytest.raises(Refused):
        made(server).get("tasks")
    assert len(server.asked) == 1


def test_client_says_of_a_dead_server_what_to_do_at_once(made: Made, paused: list[float]) -> None:
    server = Server(httpx.ConnectError("Connection refused"))
    with pytest.raises(NoAnswer) as silence:
        made(server).get("tasks")
    assert "\n" not in str(silence.value) and "--server" in str(silence.value)
    assert exit_for(silence.value) is Exit.AWAY
    assert paused == []


@pytest.mark.parametrize(
    ("why", "what_to_do"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "--ca FILE"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "begins with http://"),
    ],
)
def test_client_says_of_a_server_without_the_right_tls_what_to_do_at_once(
    made: Made, paused: list[float], why: str, what_to_do: str
) -> None:
    with pytest.raises(NoAnswer, match=what_to_do):
        made(Server(httpx.ConnectError(why))).get("tasks")
    assert paused == []


@pytest.mark.parametrize("status", [404, 409])
def test_client_says_what_is_not_there_or_in_the_way_once(made: Made, status: int) -> None:
    server = Server(problem(status, title="There is no such thing", detail="there is no rule x"))
    with pytest.raises(Refused) as refused:
        made(server).call("POST", "rules")
    assert str(refused.value) == f"there is no rule x ({status})"
    assert refused.value.next_step is None


def test_client_tells_every_wrong_field(made: Made) -> None:
    fields = [{"field": "mac", "message": "is no MAC"}, {"field": "idc", "message": "is missing"}]
    server = Server(problem(422, title="The input is invalid", detail="…", errors=fields))
    with pytest.raises(Refused) as refused:
        made(server).call("POST", "tasks", {})
    assert str(refused.value) == ("The input is invalid (422)\n  mac: is no MAC\n  idc: is missing")
    assert exit_for(refused.value) is Exit.USAGE


def test_client_names_the_request_of_a_defect(made: Made) -> None:
    server = Server(problem(500, title="Internal", detail="see the log", instance="abc"))
    with pytest.raises(Refused, match="as request abc"):
        made(server).get("tasks")


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 3), (403, 3), (404, 4), (409, 5), (412, 5), (422, 2), (500, 1), (503, 6)],
)
def test_client_errors_have_their_exit_codes(made: Made, status: int, code: int) -> None:
    with pytest.raises(Refused) as refused:
        made(Server(httpx.Response(status, text="no JSON"))).call("POST", "tasks")
    assert exit_for(refused.value) == code


def test_client_renews_a_token_that_is_refused() -> None:
    server = Server(problem(401), answer())
    with Client(URL, Renewing(), transport=httpx.MockTransport(server)) as client:
        assert client.call("POST", "tasks", {}).document == OK
    assert [each.headers["authorization"] for each in server.asked] == ["Bearer old", "Bearer new"]


def test_client_renews_only_once() -> None:
    server = Server(problem(401, title="Authentication is needed"))
    with (
        Client(URL, Renewing(), transport=httpx.MockTransport(server)) as client,
        pytest.raises(Refused),
    ):
        client.get("tasks")
    assert len(server.asked) == 2


def test_client_without_credentials_says_how_to_get_one() -> None:
    with (
        Client(URL, Nobody(), transport=httpx.MockTransport(Server(answer()))) as client,
        pytest.raises(NotSignedIn, match="lpmos login"),
    ):
        client.get("tasks")


def pages(total: int) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        limit, offset = (int(request.url.params[name]) for name in ("limit", "offset"))
        found = list(range(offset, min(offset + limit, total)))
        return answer(200, {"tasks": found, "total": total, "limit": limit, "offset": offset})

    return handle


@pytest.mark.parametrize(("total", "limit"), [(0, None), (3, None), (1234, None), (1234, 700)])
def test_client_pages_are_one_list(total: int, limit: int | None) -> None:
    with Client(URL, Fixed("T"), transport=httpx.MockTransport(pages(total))) as client:
        whole = client.pages("tasks", "tasks", limit=limit)
    count = min(total, limit or total)
    assert whole["tasks"] == list(range(count))
    assert (whole["total"], whole["offset"]) == (total, 0)


def test_client_sends_content_as_it_comes(made: Made) -> None:
    server = Server(answer())
    content = Content("application/octet-stream", "4", iter([b"ab", b"cd"]))
    made(server).call("PATCH", "images/uploads/1", content=content)
    (request,) = server.asked
    assert request.content == b"abcd"
    assert request.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "strange", [httpx.Response(200, text="{", headers={"Content-Type": "application/json"}),
                httpx.Response(302, headers={"Location": "http://elsewhere"})],
)  # fmt: skip
def test_client_understands_no_strange_answers(made: Made, strange: httpx.Response) -> None:
    with pytest.raises(NoAnswer):
        made(Server(strange)).call("POST", "tasks")


def test_client_names_the_span_that_its_calls_belong_to() -> None:
    server = Server(answer())
    parent = TraceContext(trace_id="a1" * 16, span_id="b2" * 8)
    transport = httpx.MockTransport(server)
    for each in (parent, None):
        with Client(URL, Fixed("T"), transport=transport, parent=each) as client:
            client.get("tasks")
    assert [request.headers.get("traceparent") for request in server.asked] == [str(parent), None]
