"""Every operation of the API has a command, and no command calls what is not there."""

import argparse
import re
from collections.abc import Iterator

import httpx

from lpmos.cli.main import parser
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S

NOT_FOR_PEOPLE = {
    "POST /session": "a browser signs in",
    "DELETE /session": "a browser signs out",
    "POST /login/oidc": "a browser comes back from the identity provider",
    "GET /health/live": "a supervisor asks",
    "GET /health/ready": "a balancer asks",
    "GET /metrics": "Prometheus asks",
    "GET /image-files": "a region copies images",
    "GET /image-files/{}": "a region copies images",
}
"""Operations without a command, and who calls them instead."""


def declared(command: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each call that a command declares, with the command."""
    for call in command.get_default("calls") or ():
        yield call, command.prog
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from declared(below)


def place(call: str) -> str:
    """A call with the names of its path's parameters left out."""
    return re.sub(r"\{[^}]*\}", "{}", call)


async def operations(control_plane: RunningControlPlane) -> set[str]:
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as client:
        described = (await client.get("/schema/openapi.json")).json()
    return {
        place(f"{method.upper()} {path.removeprefix('/api/v1')}")
        for path, item in described["paths"].items()
        for method in item
        if method in {"get", "put", "post", "patch", "delete"}
    }


async def test_operations_all_have_a_command(control_plane: RunningControlPlane) -> None:
    covered = {place(call) for call, _ in declared(parser())}
    missing = await operations(control_plane) - covered - set(NOT_FOR_PEOPLE)
    assert not missing, "declare each in the command that calls it (`calls=`)"


async def test_commands_call_only_what_there_is(control_plane: RunningControlPlane) -> None:
    there = await operations(control_plane)
    strange = {(command, call) for call, command in declared(parser()) if place(call) not in there}
    assert not strange
