"""The script of the installed system, run by bash against a server that answers as a region may."""

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lpmos.install import first_boot
from lpmos.region.installed_api import parse_installed
from tests.support.builders import MAC, make_task

TIMEOUT_S = 30.0
TOKEN = "0123456789abcdef" * 4
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def status(code: int) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {code} Said\r\nContent-Length: 2\r\n\r\n{{}}".encode())

    return answer


async def nothing(writer: asyncio.StreamWriter) -> None:
    """The connection is closed without a word."""


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")


@asynccontextmanager
async def server(answers: Sequence[Answer]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port where each call gets the next answer, and the bodies that came."""
    bodies: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found and head.startswith(b"POST /api/v1/installed HTTP/1.1\r\n")
        bodies.append(await reader.readexactly(int(found[1])))
        await left.pop(0)(writer)
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], bodies


def put(root: Path, port: int) -> dict[str, Path]:
    """The planned files below `root`, each told where the others are, and a `systemctl`."""
    paths = {
        file.path: root / file.path.lstrip("/")
        for file in first_boot.files(make_task(), f"http://127.0.0.1:{port}")
    }
    for file in first_boot.files(make_task(), f"http://127.0.0.1:{port}"):
        content = file.content.replace(first_boot.TOKEN, TOKEN)
        for path, place in paths.items():
            content = content.replace(path, str(place))
        paths[file.path].parent.mkdir(parents=True, exist_ok=True)
        paths[file.path].write_text(content)
        paths[file.path].chmod(file.mode)
    return paths


def place(script: Path, root: Path) -> None:
    """Keep the script from this machine's own systemd."""
    wanted = first_boot.WANTED.rpartition("/")[0]
    content = script.read_text().replace(f'"{wanted}"', f'"{root}{wanted}"')
    script.write_text(content.replace("systemctl --no-block", "true --no-block"))


async def run(script: Path, root: Path) -> str:
    """What the script says; it must end."""
    place(script, root)
    process = await asyncio.create_subprocess_exec(
        "bash", str(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return said.decode()


@pytest.mark.parametrize(
    ("answers", "last"),
    [
        ([status(200)], "the region knows that this system came up"),
        ([status(503), status(200)], "the region knows that this system came up"),
        ([nothing, status(200)], "the region knows that this system came up"),
        ([nonsense, status(200)], "the region knows that this system came up"),
        ([status(409)], "the region does not take it (HTTP status 409)"),
        ([status(401)], "the region does not take it (HTTP status 401)"),
        ([status(404)], "the region does not take it (HTTP status 404)"),
    ],
)
async def test_script_tells_until_there_is_an_answer_and_leaves_nothing(
    tmp_path: Path, answers: list[Answer], last: str
) -> None:
    async with server(answers) as (port, bodies):
        paths = put(tmp_path, port)
        said = await run(paths[first_boot.SCRIPT], tmp_path)
    assert len(bodies) == len(answers)
    task_id, mac, _ = parse_installed(bodies[-1])
    assert (task_id, mac) == (make_task().task_id, MAC)
    assert last in said.splitlines()[-1]
    assert TOKEN not in said
    assert not any(path.exists() for path in paths.values())
    assert not (tmp_path / "etc/lpmos").exists()


async def test_script_without_a_region_asks_again_until_its_time_is_over(tmp_path: Path) -> None:
    async with server([]) as (port, _):
        pass
    paths = put(tmp_path, port)
    script = paths[first_boot.SCRIPT]
    script.write_text(script.read_text().replace("longest_s=3600", "longest_s=2"))
    said = await run(script, tmp_path)
    assert "asking again for up to an hour" in said
    assert said.splitlines()[-1].endswith("did not answer within an hour; giving up")
    assert not any(path.exists() for path in paths.values())


def test_token_is_readable_by_root_alone_and_stands_in_one_file() -> None:
    planned = first_boot.files(make_task(), "http://192.0.2.1:8081")
    secret = [file for file in planned if first_boot.TOKEN in file.content]
    assert [(file.path, stat.filemode(file.mode)) for file in secret] == [
        (first_boot.REQUEST, "?rw-------")
    ]


def test_request_is_what_the_region_takes_once_the_token_is_filled_in() -> None:
    (request,) = (
        file.content
        for file in first_boot.files(make_task(), "http://192.0.2.1:8081")
        if file.path == first_boot.REQUEST
    )
    body = request.replace(first_boot.TOKEN, os.urandom(32).hex()).encode()
    assert set(msgspec.json.decode(body)) == {"task_id", "mac_address", "token"}
    assert parse_installed(body)[:2] == (make_task().task_id, MAC)
