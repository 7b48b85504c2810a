"""What a command loads before it does anything, and that commands at once lose no login."""

import asyncio
import sys
from pathlib import Path

import pytest

from lpmos.cli.credentials import Credentials

SERVER = (
    "litestar", "grpc", "uvicorn", "aiohttp", "structlog", "argon2", "lpmos.control", "lpmos.core",
    "lpmos.store", "lpmos.region", "lpmos.lab", "lpmos.images",
)  # fmt: skip
LOADED = "import sys; from lpmos.cli.main import parser; parser({!r}); print(*sys.modules)"
LOADED_BY = "import sys, {}; print(*sys.modules)"
COUNT_UP = """
import sys
from pathlib import Path
from lpmos.cli.credentials import Credentials, Login
credentials = Credentials(Path(sys.argv[1]))
for _ in range(20):
    with credentials.locked():
        known = credentials.get("s")
        count = int(known.access_token) if known else 0
        credentials.put("s", Login(user="a", access_token=str(count + 1)))
"""


async def python(code: str, *arguments: str) -> str:
    """What a new interpreter prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.parametrize(
    "command", ["", "task", "machine", "doctor", "login", "up", "image", "lab"]
)
async def test_command_line_loads_nothing_of_the_server(command: str) -> None:
    loaded = (await python(LOADED.format(command))).split()
    assert not [name for name in loaded if name.startswith(SERVER)]


async def test_help_loads_neither_tables_nor_connections() -> None:
    loaded = set((await python(LOADED.format(""))).split())
    assert not {"httpx", "rich", "websockets", "shtab"} & loaded


async def test_region_loads_neither_the_control_plane_nor_templates() -> None:
    loaded = (await python(LOADED_BY.format("lpmos.app.region"))).split()
    others = ("litestar", "uvicorn", "httpx", "argon2", "jinja2", "lpmos.control", "lpmos.lab")
    assert not [name for name in loaded if name.startswith(others)]


async def test_control_plane_loads_what_describes_its_api_when_it_is_asked_for() -> None:
    loaded = set((await python(LOADED_BY.format("lpmos.app.control_plane"))).split())
    assert "lpmos.control.openapi.page" in loaded
    assert not {"lpmos.control.openapi.description", "lpmos.control.openapi.answers"} & loaded


async def test_credentials_changed_by_several_commands_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    await asyncio.gather(*(python(COUNT_UP, str(file)) for _ in range(3)))
    kept = Credentials(file).get("s")
    assert kept is not None and kept.access_token == "60"
