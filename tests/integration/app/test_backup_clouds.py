"""`lpmos backup` on Google's and Azure's storage: a backup of many parts, there and back."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from lpmos.store.sqlite import SqliteStore
from tests.support.azure_server import AzureServer
from tests.support.backups import filled_state
from tests.support.google_server import google_server
from tests.support.lpmos_command import Done, lpmos

NOISE = 24
NOISE_BYTES = 500_000
"""The backup has 12 MB: two parts."""


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """A state directory with a store that has something of every kind, and noise."""
    state = await filled_state(tmp_path / "state")
    store = await SqliteStore.open(state / "store.db")
    for number in range(NOISE):
        await store.put(f"/os/noise/{number}", os.urandom(NOISE_BYTES))
    await store.close()
    return state


async def _backup(environment: Mapping[str, str], *arguments: str) -> Done:
    return await lpmos("backup", *arguments, environment=environment)


async def _there_and_back(environment: Mapping[str, str], target: str, state: Path) -> None:
    made = await _backup(
        environment, "create", "-q", "--state-dir", str(state), "--backup-target", target
    )
    assert made[0] == 0, made
    url = made[1].strip()
    assert url.startswith(f"{target}/lpmos-")
    assert (await _backup(environment, "list", "-q", "--backup-target", target))[1].split() == [url]
    new = state.with_name("new")
    back = await _backup(environment, "restore", url, "--state-dir", str(new), "--json")
    assert back[0] == 0 and len(json.loads(back[1])["failed_tasks"]) == 2, back
    nowhere = target.replace("backups", "nothing")
    said = (await _backup(environment, "list", "--backup-target", nowhere))[2]
    assert "no such bucket: create it, or correct backup_target" in said


async def test_backup_goes_to_azure_and_comes_back(state: Path) -> None:
    async with AzureServer() as server:
        await _there_and_back(server.environment(), "az://backups/site", state)


async def test_backup_goes_to_google_and_comes_back(state: Path, tmp_path: Path) -> None:
    async with google_server(tmp_path) as server:
        await _there_and_back(server.environment, "gs://backups/site", state)
        assert len(server.objects) == 1


async def test_backup_with_another_key_is_not_taken_by_google(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with google_server(tmp_path) as server, google_server(other) as stranger:
        here = {"gcs_base_url": server.account["gcs_base_url"]}
        account = tmp_path / "foreign.json"
        await asyncio.to_thread(account.write_text, json.dumps(stranger.account | here))
        code, _, said = await _backup(
            {**server.environment, "GOOGLE_SERVICE_ACCOUNT": str(account)},
            *("create", "-q", "--state-dir", str(state), "--backup-target", "gs://backups/site"),
        )
    assert code == 1 and "credentials are not taken" in said and "PRIVATE KEY" not in said
    assert server.objects == {}
