"""What is refused is written, but for floods; then it is counted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Request, post
from litestar.types import Scope

from lpmos.control import refusals
from lpmos.control.access import SHOWN, claim, needs
from lpmos.control.refusals import Refusals
from lpmos.model.access import Permission, Principal, Role
from lpmos.model.audit import Actor, AuditEvent
from lpmos.model.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidInput,
    NotFound,
    TooBusy,
    Unauthenticated,
)
from lpmos.store import keys
from lpmos.store.api import CasConflict, Unavailable
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import NOW
from tests.support.faulty_store import FaultyStore
from tests.support.polling import until

RETRY_S = 0.02


@post("/tasks/{task_id:str}", opt=needs(Permission.TASK_CANCEL), sync_to_thread=False)
def cancel_task(task_id: str) -> None: ...


@post("/session", opt=needs(Permission.SELF), sync_to_thread=False)
def log_in() -> None: ...


def make_request(**more: Any) -> Request[Any, Any, Any]:
    """A call of `cancel_task` by admin."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/api/v1/tasks/T-1",
        "query_string": b"token=secret",
        "headers": [(b"host", b"localhost")],
        "server": ("localhost", 80),
        "client": ("192.0.2.7", 1234),
        "path_params": {"task_id": "T-1"},
        "route_handler": cancel_task,
        "state": {},
        "user": Principal(
            subject="admin",
            roles=(Role.ADMIN,),
            tenant="acme",
            expires_at=NOW + timedelta(days=1),
            credential="session:1",
        ),
    }
    scope |= more
    whole: Scope = scope  # type: ignore[assignment]
    return Request(whole)


class Running:
    """A store and the service that writes to it."""

    def __init__(self, store: FaultyStore, period_s: float) -> None:
        self.store = store
        self.refusals = Refusals(store, lambda: NOW, period_s=period_s, retry_s=RETRY_S)
        self.task = asyncio.create_task(self.refusals.run())

    def refuse(self, error: Exception, **more: Any) -> int:
        return self.refusals.answer_error(make_request(**more), error).status_code or 0

    async def events(self) -> list[AuditEvent]:
        page = await self.store.range(keys.EVENTS)
        return [msgspec.json.decode(kv.value, type=AuditEvent) for kv in page.kvs]

    async def written(self, count: int) -> list[AuditEvent]:
        async def enough() -> bool:
            return len(await self.events()) >= count

        await until(enough)
        return await self.events()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    store = await SqliteStore.open(tmp_path / "store.db")
    yield FaultyStore(store)
    await store.close()


@pytest.fixture
async def running(store: FaultyStore) -> AsyncIterator[Running]:
    running = Running(store, 60.0)
    yield running
    await running.end()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unauthenticated("no"), 401, "unauthenticated"),
        (Forbidden("no"), 403, "forbidden"),
        (NotFound("no"), 404, "not-found"),
        (Conflict("no"), 409, "conflict"),
        (CasConflict("no"), 412, "store-conflict"),
        (InvalidInput(FieldProblem("mac", "is 'hunter2'")), 422, "invalid-input"),
        (TooBusy("no"), 429, "too-busy"),
    ],
)
async def test_refusal_is_written_with_who_what_and_why(
    running: Running, error: Exception, status: int, code: str
) -> None:
    assert running.refuse(error) == status
    (event,) = await running.written(1)
    assert (event.outcome, event.reason, event.at) == ("refused", code, NOW)
    assert (event.action, event.target, event.tenant) == ("task.cancelled", "task/T-1", "acme")
    assert event.actor.address == "192.0.2.7"
    assert event.actor.credential == "session:1"
    assert event.after
    assert event.after["path"] == "/api/v1/tasks/T-1"
    assert event.after["detail"] == ("wrong: mac" if status == 422 else "no")
    assert "hunter2" not in str(event)


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (Forbidden("no"), {"method": "GET"}),
        (Forbidden("no"), {"method": "HEAD"}),
        (Unauthenticated("no"), {"user": None}),
        (Unavailable("away"), {}),
        (ValueError("a fault of ours"), {}),
        (msgspec.DecodeError("not JSON"), {}),
    ],
)
async def test_what_is_no_refused_change_of_a_known_user_is_not_written(
    running: Running, error: Exception, more: dict[str, Any]
) -> None:
    running.refuse(error, **more)
    running.refuse(NotFound("the last"))
    events = await running.written(1)
    assert [event.reason for event in events] == ["not-found"]


async def test_failed_login_is_written_for_the_user_it_names(running: Running) -> None:
    request = make_request(user=None, route_handler=log_in, path="/api/v1/session", path_params={})
    claim(request, "anna", "acme")
    running.refusals.answer_error(request, Unauthenticated("no"))
    (event,) = await running.written(1)
    assert (event.actor.name, event.tenant) == ("anna", "acme")
    assert (event.action, event.target) == ("session.opened", "session")


async def test_flood_of_one_user_is_written_up_to_a_limit_and_then_counted(
    store: FaultyStore,
) -> None:
    running = Running(store, 0.3)
    for _ in range(1000):
        running.refuse(NotFound("no"))
    events = await running.written(refusals.OF_ONE_A_MINUTE + 1)
    (count,) = [event for event in events if event.after and "count" in event.after]
    assert len(events) == refusals.OF_ONE_A_MINUTE + 1
    assert (count.action, count.reason, count.actor.name) == (
        "task.cancelled",
        "not-found",
        "admin",
    )
    assert count.after and count.after["count"] == 1000 - refusals.OF_ONE_A_MINUTE
    running.refuse(NotFound("a minute later"))
    await running.written(refusals.OF_ONE_A_MINUTE + 2)
    await running.end()


async def test_flood_of_one_user_of_many_kinds_is_one_count_that_names_them(
    running: Running,
) -> None:
    for number in range(300):
        handler = log_in if number % 2 else cancel_task
        error = NotFound("no") if number % 3 else Conflict("no")
        running.refuse(error, route_handler=handler)
    await running.written(refusals.OF_ONE_A_MINUTE)
    await running.end()
    events = await running.events()
    (count,) = [event for event in events if event.after and "count" in event.after]
    assert len(events) == refusals.OF_ONE_A_MINUTE + 1
    assert (count.action, count.reason) == ("audit.refused", "various")
    assert count.after
    assert count.after["count"] == 300 - refusals.OF_ONE_A_MINUTE
    assert sum(count.after["most"].values()) == count.after["count"]
    assert set(count.after["most"]) == {
        f"{action} {code}"
        for action in ("task.cancelled", "session.opened")
        for code in ("not-found", "conflict")
    }


async def test_who_fails_to_sign_in_as_a_user_hides_nothing_that_the_user_does(
    running: Running,
) -> None:
    for _ in range(100):
        request = make_request(user=None, route_handler=log_in, path_params={})
        claim(request, "admin", "acme")
        running.refusals.answer_error(request, Unauthenticated("no"))
    running.refuse(Forbidden("of the user itself"))
    await running.written(refusals.OF_ONE_A_MINUTE + 1)
    await running.end()
    events = await running.events()
    assert [event.action for event in events if event.reason == "forbidden"] == ["task.cancelled"]


async def test_flood_of_an_old_token_is_written_up_to_a_limit_whatever_it_asks_for(
    running: Running,
) -> None:
    shown = Actor(name="anna", tenant="acme", credential="session:7", address="192.0.2.7")
    for number in range(1000):
        more = {"method": "GET", "path": f"/api/v1/tasks/{number}", SHOWN: shown}
        running.refuse(Unauthenticated("over"), user=None, **more)
    await running.written(refusals.OF_ONE_A_MINUTE)
    await running.end()

    events = await running.events()

    assert len(events) == refusals.OF_ONE_A_MINUTE + 1
    assert {(event.action, event.actor.name) for event in events} == {("session.used", "anna")}
    assert sum((event.after or {}).get("count", 1) for event in events) == 1000
    assert "session/7" in {event.target for event in events}


async def test_flood_of_many_users_is_bounded_too(running: Running) -> None:
    for number in range(5000):
        running.refuse(
            NotFound("no"),
            user=Principal(
                subject=f"user-{number}",
                roles=(),
                expires_at=NOW,
                credential="token:1",
            ),
        )
    await running.written(refusals.USERS)
    await running.end()  # the counts are written at the end
    events = await running.events()
    assert len(events) == refusals.USERS + 1
    assert sum((event.after or {}).get("count", 1) for event in events) == 5000


async def test_store_that_is_away_is_waited_for_and_what_is_lost_is_counted(
    store: FaultyStore,
) -> None:
    store.away = True
    running = Running(store, 0.05)
    for number in range(3):
        running.refuse(NotFound(f"{number}"))
    await asyncio.sleep(0)
    store.away = False
    events = await running.written(3)
    assert len(events) == 3
    await running.end()


async def test_answer_that_is_lost_leaves_one_event_of_each_id(running: Running) -> None:
    running.store.lose_answers = 1
    running.refuse(NotFound("no"))
    running.refuse(Conflict("no"))
    events = await running.written(2)
    await running.end()
    assert len(await running.events()) == len(events) == 2


async def test_what_is_noted_last_is_written_at_the_end(running: Running) -> None:
    running.refuse(NotFound("the first"))
    await running.written(1)
    running.refuse(NotFound("the last"))
    await running.end()
    assert len(await running.events()) == 2
