"""Who a command is: logins that renew themselves, tokens, and what is said without either."""

import asyncio
import json
import re
from pathlib import Path

from lpmos.control.config import ControlConfig, OidcConfig
from lpmos.model.access import Role
from tests.integration.cli.conftest import Shell
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import free_port

PASSWORD = "correct horse battery"
SIGNED_IN_FOR_12_H = re.compile(r"signed in.* in (12 h 0|11 h 59) min")


async def make_user(shell: Shell, name: str = "alice", *more: str) -> None:
    await shell.run(
        "user", "create", name, "--role", "operator", "--password-file", "-", *more, typed=PASSWORD
    )


def person(shell: Shell, control_plane: RunningControlPlane) -> Shell:
    """Somebody at another machine, who has no token."""
    home = shell.home.with_name("person")
    home.mkdir()
    return Shell(home, control_plane.url, None)


async def signed_in(shell: Shell, control_plane: RunningControlPlane) -> Shell:
    await make_user(shell)
    alice = person(shell, control_plane)
    await alice.run("login", "--user", "alice", "--password-file", "-", typed=PASSWORD)
    return alice


def stored(shell: Shell) -> Path:
    return shell.home / "lpmos" / "credentials.json"


async def test_command_without_a_login_says_how_to_get_one(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    refused = await person(shell, control_plane).run("task", "list", code=3)
    assert "run `lpmos login`" in refused.err and len(refused.err.splitlines()) == 1


async def test_login_is_kept_and_used_without_naming_the_server(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    del alice.environment["LPMOS_SERVER"]
    assert stored(alice).stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in stored(alice).read_text()
    me = (await alice.run("whoami", "--json")).json
    assert (me["name"], me["roles"]) == ("alice", ["operator"])
    said = (await alice.run("whoami")).out
    assert SIGNED_IN_FOR_12_H.search(said) and "which renews itself" in said
    doctor = (await alice.try_("doctor", "--remote")).out
    assert SIGNED_IN_FOR_12_H.search(doctor) and "which renews itself" in doctor
    await alice.run("user", "list", code=3)


async def test_login_with_a_wrong_password_is_refused(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await make_user(shell)
    alice = person(shell, control_plane)
    words = ("login", "--user", "alice", "--password-file", "-")
    refused = await alice.run(*words, typed="something else entirely", code=3)
    assert "knows no alice with this password" in refused.err
    assert not stored(alice).exists()


async def test_login_where_there_is_an_identity_provider_says_the_other_way(
    tmp_path: Path,
) -> None:
    provider = OidcConfig(
        issuer="https://idp.example", client_id="lpmos", roles=(("noc", Role.VIEWER),)
    )
    config = ControlConfig(oidc=provider, public_url="https://lpmos.example")
    async with open_store(tmp_path) as store, running(store, config=config) as control_plane:
        alice = Shell(tmp_path, control_plane.url, None)
        words = ("login", "--user", "alice", "--password-file", "-")
        refused = await alice.run(*words, typed=PASSWORD, code=3)
    assert f"in a browser at {control_plane.url}/login" in refused.err


async def test_login_that_has_run_out_is_renewed_once_by_many_commands(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    kept = json.loads(stored(alice).read_text())
    kept["servers"][control_plane.url]["expires_at"] = 0
    stored(alice).write_text(json.dumps(kept))
    ended = await asyncio.gather(*(alice.run("whoami", "-q") for _ in range(4)))
    assert [each.out for each in ended] == ["alice\n"] * 4
    now = json.loads(stored(alice).read_text())["servers"][control_plane.url]
    assert now["refresh_token"] != kept["servers"][control_plane.url]["refresh_token"]
    assert "POST /api/v1/login/refresh" in alice.calls


async def test_login_with_a_damaged_access_token_is_renewed(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    kept = json.loads(stored(alice).read_text())
    kept["servers"][control_plane.url]["access_token"] = "no token"
    stored(alice).write_text(json.dumps(kept))
    assert (await alice.run("whoami", "-q")).out == "alice\n"


async def test_login_ended_elsewhere_asks_for_another(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    sessions = (await shell.run("user", "sessions", "alice", "--json")).json["sessions"]
    assert [each["kind"] for each in sessions] == ["program"]
    await shell.run("user", "sessions", "alice", "--end-all", "--yes")
    refused = await alice.run("whoami", code=3)
    assert "run `lpmos login` again" in refused.err


async def test_refusals_say_what_to_do_next(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    assert "lpmos whoami" in (await alice.run("user", "list", code=3)).err
    stranger = Shell(alice.home, control_plane.url, "no token of ours")
    assert "lpmos login" in (await stranger.run("task", "list", code=3)).err
    stale = ("user", "change", "alice", "--lock", "--at-revision", "1")
    assert "look at it again" in (await shell.run(*stale, code=5)).err


async def test_logout_ends_the_session_at_the_server(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    await alice.run("logout")
    assert (await shell.run("user", "sessions", "alice", "-q")).out == ""
    await alice.run("whoami", code=3)
    await alice.run("logout")


async def test_token_works_for_a_program_until_it_is_revoked(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = await signed_in(shell, control_plane)
    made = (await alice.run("token", "create", "nightly", "--days", "2", "--json")).json
    program = Shell(shell.home, control_plane.url, made["token"])
    assert (await program.run("whoami", "-q")).out == "alice\n"
    listed = await alice.run("token", "list")
    assert "nightly" in listed.out and made["token"] not in listed.out
    await alice.run("token", "revoke", made["id"], "--yes")
    await program.run("whoami", code=3)


async def test_token_file_is_kept_as_a_login(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    alice = person(shell, control_plane)
    token = await control_plane.as_user([Role.VIEWER], name="bob")
    await alice.run("login", "--token-file", "-", typed=token)
    assert (await alice.run("whoami", "-q")).out == "bob\n"


async def test_dead_server_is_one_line_with_what_to_do(shell: Shell) -> None:
    shell.environment["LPMOS_SERVER"] = f"http://127.0.0.1:{free_port()}"
    ended = await shell.run("task", "list", code=6)
    assert len(ended.err.splitlines()) == 1 and "is it running" in ended.err


async def test_server_address_that_is_none_is_refused(shell: Shell) -> None:
    for wrong in ("ftp://x", "http://a:b@host", "http://host/path", "http://host:99999999"):
        await shell.run("task", "list", "--server", wrong, code=2)
