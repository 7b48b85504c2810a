"""A control plane over the embedded store, and clients with and without its token."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lpmos.store.sqlite import SqliteStore
from tests.support.control_plane import RunningControlPlane, open_store, running_with_debian
from tests.support.polling import ANSWER_TIMEOUT_S

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients over plain HTTP: reading the list of all authorities takes as long as a test."""


@pytest.fixture
async def control_plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    """A control plane that knows region dc1, which offers Debian 12."""
    async with running_with_debian(tmp_path) as running:
        yield running


@pytest.fixture
async def tmp_store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A new embedded store."""
    async with open_store(tmp_path) as store:
        yield store


@pytest.fixture
async def api(control_plane: RunningControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token."""
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, verify=NO_AUTHORITIES, timeout=ANSWER_TIMEOUT_S
    ) as client:
        yield client


@pytest.fixture
async def anyone(control_plane: RunningControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with httpx.AsyncClient(
        base_url=control_plane.url, verify=NO_AUTHORITIES, timeout=ANSWER_TIMEOUT_S
    ) as client:
        yield client
