"""Bulk creation over HTTP: what each row is told, and what is in the store afterwards."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from lpmos.model.access import Role
from lpmos.model.bulk import ROWS_LIMIT
from lpmos.model.lifecycle import Status
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane

BULK = "/api/v1/tasks/bulk"
CSV = {"Content-Type": "text/csv"}
HEADER = "idc,sn,mac,os_type,os_version"


def _row(number: int, **fields: Any) -> dict[str, Any]:
    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    known = {"idc": "dc1", "sn": f"SN-{number}", "mac": mac}
    return known | {"os_type": "debian", "os_version": "12"} | fields


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    lines = [",".join(str(value) for value in row.values()) for row in rows]
    return "\r\n".join([",".join(rows[0]), *lines, ""])


async def _statuses(answer: httpx.Response) -> list[str]:
    return [row["status"] for row in answer.json()["rows"]]


async def test_rows_of_json_are_created_and_read_at_once(api: httpx.AsyncClient) -> None:
    answer = await api.post(BULK, json=[_row(number) for number in range(60)])
    assert answer.status_code == 201
    result = answer.json()
    assert (result["total"], result["counts"]) == (60, {"created": 60})
    assert (await api.get("/api/v1/tasks")).json()["total"] == 60
    last = result["rows"][59]
    assert (last["row"], last["sn"], last["idc"]) == (60, "SN-59", "dc1")
    task = (await api.get(f"/api/v1/tasks/{last['task_id']}")).json()
    assert (task["sn"], task["created_by"], task["status"]) == ("SN-59", "admin", "pending")


async def test_rows_of_csv_become_what_single_calls_would(api: httpx.AsyncClient) -> None:
    columns = (
        "idc,sn,mac,os_type,os_version,hostname,root_disk.serial,root_disk.min_size_bytes,"
        "root_disk.rotational,network_config.address,network_config.dns,ssh_keys,tags.rack,tags.note"
    )
    keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA a", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5BBBB b"]
    cells = f'dc1,SN-1,5254.0000.0001,debian,12,,D1,1000,false,192.0.2.5/24,192.0.2.1 192.0.2.2,"{keys[0]}\n{keys[1]}",r1,"a, ""b"""'  # noqa: E501
    body = f"\ufeff{columns}\r\n\r\n{cells}\r\n"
    answer = await api.post(BULK, content=body.encode(), headers=CSV)
    assert answer.status_code == 201
    (row,) = answer.json()["rows"]
    assert (row["row"], row["line"]) == (1, 3)
    task = (await api.get(f"/api/v1/tasks/{row['task_id']}")).json()
    assert (task["mac"], task["hostname"]) == ("52:54:00:00:00:01", "sn-1")
    assert (task["root_disk"]["serial"], task["root_disk"]["rotational"]) == ("D1", False)
    assert task["root_disk"]["min_size_bytes"] == 1000
    assert task["network_config"]["dns"] == ["192.0.2.1", "192.0.2.2"]
    assert (task["ssh_keys"], task["tags"]) == (keys, {"rack": "r1", "note": 'a, "b"'})


async def test_wrong_rows_are_told_why_and_the_others_are_created(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(sn="SN-2", mac="52:54:00:00:00:02"))
    rows = [_row(1), _row(2), _row(3, mac="x", sn="/"), _row(4, os_version="99"), "nonsense"]
    answer = await api.post(BULK, json=rows)
    assert answer.status_code == 200
    result = answer.json()
    assert result["counts"] == {"created": 1, "invalid": 3, "conflict": 1}
    told = [row.get("problem") for row in result["rows"]]
    assert told[0] is None
    assert (told[1]["code"], result["rows"][1]["status"]) == ("unfinished-task", "conflict")
    assert [each["field"] for each in told[2]["errors"]] == ["mac", "sn"]
    assert [each["field"] for each in told[3]["errors"]] == ["os_version"]
    assert (await api.get("/api/v1/tasks")).json()["total"] == 2


async def test_dry_run_says_what_would_be_and_writes_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(sn="SN-2", mac="52:54:00:00:00:02"))
    before = await control_plane.documents()
    rows = [_row(1), _row(2), _row(3, idc="dc9")]
    answer = await api.post(f"{BULK}?dry_run=true", json=rows)
    assert (answer.status_code, answer.json()["dry_run"]) == (200, True)
    assert await _statuses(answer) == ["would_create", "conflict", "invalid"]
    assert await control_plane.documents() == before


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        (_row(9, sn="/"), 422, "invalid-input"),
        (_row(9, os_type="plan9"), 422, "invalid-input"),
        (_row(2, sn="SN-9"), 409, "conflict"),
    ],
)
async def test_atomic_with_a_wrong_row_creates_nothing(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    wrong: dict[str, Any],
    status: int,
    code: str,
) -> None:
    await control_plane.put_task(make_task(sn="SN-2", mac="52:54:00:00:00:02"))
    before = await control_plane.documents()
    rows = [*(_row(number) for number in range(10, 50)), wrong]
    answer = await api.post(f"{BULK}?atomic=true", json=rows)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(await _statuses(answer)) - {"would_create"} <= {"invalid", "conflict"}
    assert await control_plane.documents() == before


async def test_atomic_with_right_rows_creates_all(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{BULK}?atomic=true", json=[_row(number) for number in range(40)])
    assert (answer.status_code, answer.json()["counts"]) == (201, {"created": 40})


async def test_call_again_with_the_same_key_finds_each_row_and_makes_what_is_missing(
    api: httpx.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "rack 7"}
    rows = [_row(number) for number in range(30)]
    first = await api.post(BULK, json=rows[:20], headers=key)
    second = await api.post(BULK, json=rows, headers=key)
    assert second.status_code == 201
    assert second.json()["counts"] == {"created": 10, "exists": 20}
    assert "idempotency-replayed" not in second.headers
    ids = [row["task_id"] for row in first.json()["rows"]]
    assert [row["task_id"] for row in second.json()["rows"]][:20] == ids
    third = await api.post(BULK, json=rows, headers=key)
    assert third.headers["idempotency-replayed"] == "true"
    assert (await api.get("/api/v1/tasks")).json()["total"] == 30


async def test_call_again_with_the_same_key_and_another_row_is_a_conflict_for_that_row(
    api: httpx.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "rack 7"}
    await api.post(BULK, json=[_row(1), _row(2)], headers=key)
    answer = await api.post(BULK, json=[_row(1), _row(2, hostname="other")], headers=key)
    assert await _statuses(answer) == ["exists", "conflict"]
    assert "hostname" in answer.json()["rows"][1]["problem"]["detail"]


async def test_rows_of_one_file_with_the_same_machine_name_each_other(
    api: httpx.AsyncClient,
) -> None:
    rows = [_row(1), _row(2), _row(3, sn="SN-1"), _row(4, mac="52-54-00-00-00-02")]
    answer = await api.post(BULK, json=rows)
    assert answer.status_code == 422
    told = [row["problem"]["errors"] for row in answer.json()["rows"]]
    assert [(each["field"], each["message"][-12:]) for (each,) in told] == [
        ("sn", "in row 3 too"),
        ("mac", "in row 4 too"),
        ("sn", "in row 1 too"),
        ("mac", "in row 2 too"),
    ]


async def test_rows_of_a_tenants_user_are_its_tenants(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.OPERATOR], 'a')}"}
    rows = [_row(1), _row(2, tenant="b"), _row(3, tenant="a")]
    answer = await api.post(BULK, json=rows, headers=own)
    assert await _statuses(answer) == ["created", "invalid", "created"]
    assert (await api.get("/api/v1/tasks?tenant=a")).json()["total"] == 2


async def test_cells_like_formulas_are_text_or_refused(api: httpx.AsyncClient) -> None:
    body = f"{HEADER},tags.note\ndc1,SN-1,52:54:00:00:00:01,debian,12,=1+1\ndc1,=SN,@x,+a,-b,\n"
    answer = await api.post(BULK, content=body, headers=CSV)
    assert await _statuses(answer) == ["created", "invalid"]
    task_id = answer.json()["rows"][0]["task_id"]
    assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["tags"] == {"note": "=1+1"}


GOOD = "dc1,SN-1,52:54:00:00:00:01,debian,12"


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b"", 422, ["header.idc", "header.mac", "header.os_type", "header.os_version"]),
        (f"{HEADER}\n".encode(), 422, ["body"]),
        (f"{HEADER},colour\n{GOOD},red".encode(), 422, ["header.colour"]),
        (f"{HEADER},sn\n{GOOD},SN-1".encode(), 422, ["header.sn"]),
        (f"sn,mac\n{GOOD}".encode(), 422, ["header.idc", "header.os_type", "header.os_version"]),
        (HEADER.replace(",", ";").encode(), 422, ["body"]),
        (f"{HEADER}\n{GOOD}".encode("utf-16"), 422, ["body"]),
        (f"{HEADER},tags.a\n{GOOD},é".encode("latin-1"), 422, ["body"]),
        (f"{HEADER}\n{GOOD}\0".encode(), 422, ["body"]),
        (f'{HEADER}\n"{GOOD}'.encode(), 422, ["body"]),
        (f'{HEADER}\n"dc1"x,SN-1'.encode(), 422, ["body"]),
        (f"{HEADER},tags.a\n{GOOD},{'x' * 200_000}".encode(), 422, ["body"]),
        (",".join(f"tags.t{n}" for n in range(200)).encode(), 422, ["body"]),
        (f"{HEADER}\n{GOOD}\n".encode() + b"x\n" * ROWS_LIMIT, 422, ["body"]),
    ],
)  # fmt: skip
async def test_csv_that_is_no_file_of_rows_is_refused_whole(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    body: bytes,
    status: int,
    fields: list[str],
) -> None:
    before = await control_plane.documents()
    answer = await api.post(BULK, content=body, headers=CSV)
    assert answer.status_code == status
    assert [each["field"] for each in answer.json()["errors"]] == fields
    assert await control_plane.documents() == before


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("dc1,SN-1", ["row"]),
        (GOOD + ",a,b,c,d", ["row"]),
        (f"{GOOD},many,,", ["root_disk.min_size_bytes"]),
        (f"{GOOD},,perhaps,", ["root_disk.rotational"]),
        (f"{GOOD},,,{'x' * 20_000}", ["tags.a"]),
        (f"{GOOD},,,{'x' * 300}", ["tags.a"]),
        ("DC1,SN 1,nonsense,debian,12,-5,,", ["root_disk.min_size_bytes"]),
        ("DC1,SN 1,nonsense,debian,12,,,", ["idc", "mac", "sn"]),
        (",,,,,,,", ["idc", "mac", "os_type", "os_version"]),
    ],
)
async def test_csv_row_that_is_wrong_says_which_cells(
    api: httpx.AsyncClient, line: str, fields: list[str]
) -> None:
    columns = f"{HEADER},root_disk.min_size_bytes,root_disk.rotational,tags.a"
    answer = await api.post(BULK, content=f"{columns}\n{line}\n", headers=CSV)
    (row,) = answer.json()["rows"]
    assert (answer.status_code, row["status"]) == (422, "invalid")
    assert [each["field"] for each in row["problem"]["errors"]] == fields


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"[", 400, None),
        (b"\xff\xfe", 400, None),
        (b"{}", 422, "body"),
        (b'"rows"', 422, "body"),
        (b"[]", 422, "body"),
        (b"[" * 100_000, 400, None),
        (b"[" + b'{"a":' * 50 + b"1" + b"}" * 50 + b"]", 400, None),
        (b"[" + b"1," * ROWS_LIMIT + b"1]", 422, "body"),
    ],
)
async def test_json_that_is_no_array_of_rows_is_refused_whole(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    body: bytes,
    status: int,
    field: str | None,
) -> None:
    before = await control_plane.documents()
    headers = {"Content-Type": "application/json"}
    answer = await api.post(BULK, content=body, headers=headers)
    assert answer.status_code == status
    assert [each["field"] for each in answer.json()["errors"]] == ([field] if field else [])
    assert await control_plane.documents() == before


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {"Content-Type": "text/plain"}, 415),
        ("", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("?dry_run=perhaps", CSV, 422),
        ("?atomic=2", CSV, 422),
        ("?force=true", CSV, 422),
        ("", CSV | {"Idempotency-Key": ""}, 422),
    ],
)
async def test_call_that_is_wrong_itself_is_refused(
    api: httpx.AsyncClient, query: str, headers: dict[str, str], status: int
) -> None:
    answer = await api.post(BULK + query, content=f"{HEADER}\n{GOOD}", headers=headers)
    assert answer.status_code == status
    assert (await api.get("/api/v1/tasks")).json()["total"] == 0


async def test_body_over_the_limit_is_refused(api: httpx.AsyncClient) -> None:
    body = f"{HEADER}\n".encode() + b"x" * (16 * 1024 * 1024)
    answer = await api.post(BULK, content=body, headers=CSV)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_ten_thousand_rows_in_one_call(api: httpx.AsyncClient) -> None:
    rows = json.dumps([_row(number) for number in range(ROWS_LIMIT)])
    headers = {"Content-Type": "application/json"}
    answer = await api.post(BULK, content=rows, headers=headers, timeout=200.0)
    assert (answer.status_code, answer.json()["counts"]) == (201, {"created": ROWS_LIMIT})
    page = (await api.get("/api/v1/tasks?status=pending&text=SN-99")).json()
    assert page["total"] == 111
    assert page["counts"][Status.PENDING] == ROWS_LIMIT
