"""Arguments of the installed kernel, over real HTTP: taken, shown, kept, refused by name."""

import httpx
import pytest

NEW = {
    "idc": "dc1",
    "sn": "SN-1",
    "mac": "52:54:00:12:34:56",
    "os_type": "debian",
    "os_version": "12",
}
WORDS = "console=ttyS1,115200n8 hugepages=16"


async def test_arguments_are_shown_as_they_were_asked_for_and_kept_by_a_retry(
    api: httpx.AsyncClient,
) -> None:
    made = await api.post("/api/v1/tasks", json=NEW | {"kernel_arguments": WORDS})
    assert made.status_code == 201, made.text
    here = made.json()["links"]["self"]
    assert (await api.get(here)).json()["kernel_arguments"] == WORDS
    assert (await api.delete(here)).is_success
    again = await api.post(f"{here}/retry")
    assert again.status_code == 201, again.text
    assert (await api.get(again.json()["links"]["self"])).json()["kernel_arguments"] == WORDS


async def test_row_of_a_csv_file_has_a_column_for_them(api: httpx.AsyncClient) -> None:
    names = [*NEW, "kernel_arguments"]
    body = f'{",".join(names)}\n{",".join(NEW.values())},"{WORDS}"\n'
    made = await api.post("/api/v1/tasks/bulk", content=body, headers={"Content-Type": "text/csv"})
    assert made.status_code == 201, made.text
    (row,) = made.json()["rows"]
    task = (await api.get(f"/api/v1/tasks/{row['task_id']}")).json()
    assert task["kernel_arguments"] == WORDS


@pytest.mark.parametrize("words", ["root=/dev/sda1", "a b;reboot", "x" * 513])
async def test_arguments_that_cannot_be_had_are_refused_by_the_field(
    api: httpx.AsyncClient, words: str
) -> None:
    refused = await api.post("/api/v1/tasks", json=NEW | {"kernel_arguments": words})
    assert refused.status_code == 422
    assert [problem["field"] for problem in refused.json()["errors"]] == ["kernel_arguments"]
