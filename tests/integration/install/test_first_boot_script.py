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

from lpmos.install import first_boot, hooks
from lpmos.model.setup import (
    NO_SECRETS,
    Ansible,
    CloudInit,
    Puppet,
    Setup,
    TaskSecrets,
)
from lpmos.model.task import Task
from lpmos.region.installed_api import parse_installed
from tests.support.builders import MAC, make_task

TIMEOUT_S = 30.0
TASK = make_task()
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
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # only whether somebody is here
            writer.close()
            return
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found and head.startswith(b"POST /api/v1/installed HTTP/1.1\r\n")
        bodies.append(await reader.readexactly(int(found[1])))
        await left.pop(0)(writer)
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], bodies


def put(
    root: Path, port: int, task: Task = TASK, secrets: TaskSecrets = NO_SECRETS
) -> dict[str, Path]:
    """The planned files below `root`, each told where the others are, and a `systemctl`."""
    planned = first_boot.files(task, f"http://127.0.0.1:{port}", secrets)
    paths = {file.path: root / file.path.lstrip("/") for file in planned}
    others = (hooks.DIRECTORY, hooks.VALUES, hooks.VARIABLES)
    for file in planned:
        content = file.content.replace(first_boot.TOKEN, TOKEN)
        for path in sorted({*paths, *others}, key=len, reverse=True):
            content = content.replace(path, f"@ROOT@{path[1:]}")
        content = content.replace("@ROOT@", f"{root}/")
        paths[file.path].parent.mkdir(parents=True, exist_ok=True)
        paths[file.path].write_text(content)
        paths[file.path].chmod(file.mode)
    return paths


def place(script: Path, root: Path, programs: Path | None) -> None:
    """Keep the script from this machine's own systemd, and have it find these programs first."""
    wanted = first_boot.WANTED.rpartition("/")[0]
    content = script.read_text().replace(f'"{wanted}"', f'"{root}{wanted}"')
    content = content.replace("systemctl --no-block", "true --no-block")
    if programs is not None:
        content = content.replace("PATH=/usr/local/sbin", f"PATH={programs}", 1)
    script.write_text(content)


async def run(script: Path, root: Path, programs: Path | None = None) -> str:
    """What the script says; it must end. `programs` stand before those of the system."""
    place(script, root, programs)
    process = await asyncio.create_subprocess_exec(
        "bash", str(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return said.decode(errors="replace")


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
    heard = parse_installed(bodies[-1])
    assert (heard.task_id, heard.mac, heard.failure) == (make_task().task_id, MAC, None)
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


SECRET = "p4ss 'word' \"x\" \\ $(touch broken-out)"
HOOKED = msgspec.structs.replace(
    TASK,
    setup=Setup(
        cloud_init=CloudInit(user_data="#cloud-config\nruncmd: []\n"),
        ansible=Ansible(
            repository="https://git.example.net/site.git",
            playbook="web.yml",
            branch="main",
            variables={"text": 'it\'s "$(id)"', "number": 5},
        ),
        puppet=Puppet(server="puppet.example.net", environment="staging"),
        secret_names=("VAULT",),
    ),
)
HOOK_SECRETS = TaskSecrets(values={"VAULT": SECRET})


def program(directory: Path, name: str, script: str) -> None:
    """A stand-in that notes how it was called, and then does what the script says."""
    directory.mkdir(exist_ok=True)
    file = directory / name
    noted = f"printf '%s\\n' {name} \"$@\" >>{directory}/calls"
    file.write_text(f"#!/bin/bash\n{noted}\n{script}\n")
    file.chmod(0o755)


async def test_hooks_run_in_order_before_the_word_and_leave_nothing(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    program(programs, "cloud-init", "exit 2")
    program(programs, "ansible-pull", f'printf %s "$VAULT" >{programs}/vault')
    program(programs, "puppet", "[[ $1 == config ]] || exit 2")
    async with server([status(200)]) as (port, bodies):
        paths = put(tmp_path, port, HOOKED, HOOK_SECRETS)
        variables = paths[hooks.VARIABLES].read_text()
        said = await run(paths[first_boot.SCRIPT], tmp_path, programs)
    assert parse_installed(bodies[-1]).failure is None
    assert (programs / "vault").read_text() == SECRET
    assert msgspec.json.decode(variables) == {"text": 'it\'s "$(id)"', "number": 5}
    calls = (programs / "calls").read_text().splitlines()
    order = [call for call in calls if call in ("cloud-init", "ansible-pull", "puppet")]
    assert order == ["cloud-init", "ansible-pull", *["puppet"] * 4]
    place = f"@{tmp_path}{hooks.VARIABLES}"
    wanted = ["--url", "https://git.example.net/site.git", "--directory", hooks.CHECKOUT,
              "--checkout", "main", "--inventory", "localhost,", "--extra-vars", place,
              "web.yml"]  # fmt: skip
    begin = calls.index("ansible-pull") + 1
    assert calls[begin : begin + len(wanted)] == wanted
    assert calls[calls.index("server") :][:2] == ["server", "puppet.example.net"]
    assert "certname" in calls and HOOKED.hostname in calls
    assert "the region knows that this system came up" in said
    assert not any(path.exists() for path in paths.values())
    assert not (tmp_path / "etc/lpmos").exists() and not (tmp_path / "broken-out").exists()


async def test_failed_hook_is_told_with_the_end_of_its_output_and_no_secret(
    tmp_path: Path,
) -> None:
    """The later ones do not run, and what is told is JSON whatever was said."""
    programs = tmp_path / "programs"
    program(programs, "cloud-init", "exit 0")
    noise = "head -c 100000 /dev/zero | tr '\\0' x; echo"
    last = "printf 'a \"b\" \\\\ c\\td\\x01\\xff\\n'"
    program(programs, "ansible-pull", f'{noise}; echo "it is $VAULT here"; {last}; exit 9')
    program(programs, "puppet", "exit 0")
    async with server([status(503), status(200)]) as (port, bodies):
        paths = put(tmp_path, port, HOOKED, HOOK_SECRETS)
        said = await run(paths[first_boot.SCRIPT], tmp_path, programs)
    failure = parse_installed(bodies[-1]).failure
    assert bodies[0] == bodies[1] and len(bodies[1]) < 16_384
    assert failure is not None and failure.output is not None
    assert failure.reason.endswith("failed: ansible failed with exit status 9")
    assert failure.output.endswith('\nit is *** here\na "b" \\ c d\n'.rstrip("\n"))
    assert len(failure.output) <= hooks.OUTPUT_CHARACTERS
    assert "puppet" not in (programs / "calls").read_text().splitlines()
    assert said.splitlines()[-1].endswith("the region knows what failed")
    assert not any(path.exists() for path in paths.values())


async def test_hook_that_takes_too_long_is_ended_and_told(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    program(programs, "cloud-init", "exec sleep 600")
    async with server([status(200)]) as (port, bodies):
        paths = put(tmp_path, port, HOOKED, HOOK_SECRETS)
        script = paths[first_boot.SCRIPT]
        limit = f"until_s=$((SECONDS + {hooks.LONGEST_S}))"
        assert limit in script.read_text()
        script.write_text(script.read_text().replace(limit, "until_s=$((SECONDS + 1))"))
        await run(script, tmp_path, programs)
    failure = parse_installed(bodies[-1]).failure
    assert failure is not None and failure.reason.endswith("(it took too long)")


def test_hooks_and_their_secrets_are_readable_by_root_alone() -> None:
    planned = first_boot.files(HOOKED, "http://192.0.2.1:8081", HOOK_SECRETS)
    ours = [file for file in planned if "first-boot.d" in file.path or "VAULT" in file.content]
    assert len(ours) == 4
    assert all(file.mode & 0o077 == 0 for file in ours)
