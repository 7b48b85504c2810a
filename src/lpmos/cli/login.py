"""`lpmos login`, `logout` and `whoami`."""

import argparse
import getpass
import os
import sys
import time
from pathlib import Path

from lpmos.cli.client import Client, Fixed
from lpmos.cli.connect import connect, login_from, server_of
from lpmos.cli.credentials import Credentials, Login, default_path
from lpmos.cli.display import Display, utc_now
from lpmos.cli.failures import NoAnswer, NotSignedIn, Refused, Usage
from lpmos.cli.options import declared
from lpmos.cli.task_create import read_text
from lpmos.cli.words import listed, signed_in_until

LOGIN_CALLS = ("POST /login", "POST /login/refresh", "GET /login/oidc", "GET /session")
LOGOUT_TIMEOUT_S = 10.0


def define(command: argparse.ArgumentParser) -> None:
    """The arguments of the three commands; the last word says which."""
    which = command.prog.split()[-1]
    if which == "whoami":
        declared(command, _whoami, ("GET /session",))
        return
    if which == "logout":
        declared(command, _logout, ("DELETE /login",))
        return
    declared(command, _login, LOGIN_CALLS)
    command.description = (
        "Sign in to a control plane. Your password is asked for; what is kept (in"
        " ~/.config/lpmos/credentials.json, for you alone) is a login that renews itself. Later"
        " commands use the server that you signed in to last."
    )
    command.add_argument("--user", metavar="NAME", help="(else asked for)")
    given = command.add_mutually_exclusive_group()
    given.add_argument(
        "--password-file", type=Path, metavar="FILE", help="`-` is standard input (else asked for)"
    )
    given.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="keep this API token instead of a login",
    )


def _login(chosen: argparse.Namespace) -> None:
    credentials = Credentials(default_path())
    server = server_of(chosen, credentials, os.environ)
    ca = str(chosen.ca.absolute()) if chosen.ca else os.environ.get("LPMOS_CA")
    if chosen.token_file:
        login = _with_token(chosen, server, ca)
    else:
        login = _with_password(chosen, server, ca)
    with credentials.locked():
        credentials.put(server, login, current=True)
    said = f"signed in to {server} as {login.user}"
    Display(chosen).result({"server": server, "user": login.user}, login.user, said)


def _with_password(chosen: argparse.Namespace, server: str, ca: str | None) -> Login:
    user = chosen.user or _asked("User: ")
    if chosen.password_file:
        password = read_text(chosen.password_file).rstrip("\n")
    else:
        _check_terminal("--password-file")
        password = getpass.getpass(f"Password of {user} at {server}: ")
    with connect(chosen, known=False) as client:
        body = {"username": user, "password": password}
        try:
            answer = client.call("POST", "login", body, signed=False)
        except Refused as error:
            if error.status != 401:
                raise
            text = f"{server} knows no {user} with this password"
            raise NotSignedIn(text + _other_way(client)) from error
    return login_from(answer.document, user, ca, time.time())


def _other_way(client: Client) -> str:
    """What those do whose password only their identity provider knows."""
    try:
        offered = client.call("GET", "login/oidc", signed=False).document["configured"]
    except (Refused, NoAnswer):
        return ""
    return (
        f"; if you sign in at an identity provider: do so in a browser at {client.url}/login, make"
        " an API token, and give it here with --token-file"
        if offered
        else ""
    )


def _with_token(chosen: argparse.Namespace, server: str, ca: str | None) -> Login:
    token = read_text(chosen.token_file).strip()
    with Client(server, Fixed(token), ca=Path(ca) if ca else None) as client:
        user = client.get("session")["name"]
    return Login(user=user, access_token=token, ca=ca)


def _logout(chosen: argparse.Namespace) -> None:
    credentials = Credentials(default_path())
    server = server_of(chosen, credentials, os.environ)
    login = credentials.get(server)
    display = Display(chosen)
    if login is None:
        display.done(server, f"not signed in to {server}")
        return
    said = f"signed out of {server}"
    if login.refresh_token is not None:
        try:
            with connect(chosen) as client:
                client.call("DELETE", "login", timeout_s=LOGOUT_TIMEOUT_S)
        except NotSignedIn:
            said += " (the login was over already)"
        except (Refused, NoAnswer) as error:
            display.note(f"the server could not be told: {error}")
    with credentials.locked():
        credentials.forget(server)
    display.done(server, said)


def _whoami(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        me = client.get("session")
        server = client.url
    display = Display(chosen)
    if not display.for_person(me, me["name"]):
        return
    display.fields(
        [
            ("server", server),
            ("user", me["name"]),
            ("", me["display_name"]),
            ("tenant", me["tenant"] or "(the provider)"),
            ("roles", listed(me["roles"])),
            ("may", listed(me["permissions"])),
            ("signed in until", signed_in_until(me, utc_now())),
        ]
    )


def _asked(question: str) -> str:
    _check_terminal("--user")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _check_terminal(flag: str) -> None:
    if not sys.stdin.isatty():
        raise Usage(f"there is nobody to ask here: give {flag}")
