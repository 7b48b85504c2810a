"""`lpmos user`: who may sign in, with which roles, and where they are signed in."""

import argparse
import getpass
import sys
from functools import partial
from pathlib import Path
from urllib.parse import quote

from lpmos.cli.client import Document, stated
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished, Usage
from lpmos.cli.options import (
    add_at_revision,
    add_limit,
    add_yes,
    at_revision,
    command,
    group,
    limit,
    named_command,
)
from lpmos.cli.task_create import read_text
from lpmos.cli.words import ago, listed, stamp
from lpmos.model.access import Role

COLUMNS = (
    Column("USER", lambda user: user["name"]),
    Column("NAME", lambda user: user["display_name"], drop=3),
    Column("ROLES", lambda user: listed(user["roles"])),
    Column("TENANT", lambda user: user["tenant"] or "", drop=1),
    Column("FROM", lambda user: user["source"], drop=4),
    Column("CREATED", lambda user: ago(user["created_at"], utc_now()), drop=2),
    Column("", lambda user: "locked" if user["disabled"] else ""),
)
SESSIONS = (
    Column("SESSION", lambda session: session["id"]),
    Column("", lambda session: "this one" if session["current"] else ""),
    Column("KIND", lambda session: session["kind"], drop=2),
    Column("SINCE", lambda session: ago(session["created_at"], utc_now())),
    Column("ENDS", lambda session: ago(session["expires_at"], utc_now()), drop=1),
    Column("FROM", lambda session: session["address"]),
    Column("WITH", lambda session: session["user_agent"], drop=3),
)
_named = partial(named_command, what="the user")


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `user`."""
    kinds = group(parser)
    listing = command(kinds, "list", _list, "list users", calls=("GET /users",))
    add_limit(listing)
    _named(kinds, "show", _show, "show a user", ("GET /users/{name}",))
    create = _named(kinds, "create", _create, "make a user", ("POST /users",))
    _fields(create)
    create.add_argument(
        "--no-password", action="store_true", help="a program's user: API tokens only"
    )
    _password_file(create)
    change = _named(kinds, "change", _change, "change a user", ("PATCH /users/{name}",))
    _fields(change)
    change.add_argument("--unlock", action="store_true", help="let it sign in again")
    change.add_argument("--no-tenant", action="store_true", help="make it one of the provider's")
    add_at_revision(change)
    delete = _named(
        kinds, "delete", _delete, "delete a user; its sessions and tokens end",
        ("DELETE /users/{name}",),
    )  # fmt: skip
    add_at_revision(delete)
    add_yes(delete)
    password = _named(
        kinds, "password", _set_password, "set a password; all sessions of the user end",
        ("GET /session", "PUT /users/{name}/password"),
    )  # fmt: skip
    _password_file(password)
    password.add_argument(
        "--old-password-file", type=Path, metavar="FILE", help="for your own (else asked for)"
    )
    sessions = _named(
        kinds, "sessions", _sessions, "list where a user is signed in, or sign it out",
        (
            "GET /users/{name}/sessions", "DELETE /users/{name}/sessions",
            "DELETE /users/{name}/sessions/{session_id}",
        ),
    )  # fmt: skip
    ends = sessions.add_mutually_exclusive_group()
    ends.add_argument("--end", metavar="SESSION", help="end this session")
    ends.add_argument("--end-all", action="store_true", help="sign the user out everywhere")
    add_yes(sessions)


def _fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--role", action="append", choices=[role.value for role in Role], help="repeatable"
    )
    parser.add_argument("--tenant", help="whose user it is (else the provider's)")
    parser.add_argument("--display-name", metavar="TEXT")
    parser.add_argument("--lock", action="store_true", help="it may not sign in")


def _password_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="`-` is standard input (else asked for)"
    )


def _path(chosen: argparse.Namespace, *below: str) -> str:
    return "/".join(["users", quote(chosen.name, safe=""), *below])


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages("users", "users", limit=limit(chosen))
    Display(chosen).listing(
        found, "users", COLUMNS, lambda user: str(user["name"]), nothing="no users"
    )


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        user = client.get(_path(chosen))
    display = Display(chosen)
    if not display.for_person(user, user["name"]):
        return
    display.fields(
        [
            ("user", user["name"]),
            ("name", user["display_name"]),
            ("roles", listed(user["roles"])),
            ("tenant", user["tenant"] or "(the provider)"),
            ("signs in", "not: locked" if user["disabled"] else _signs_in(user)),
            ("created", stamp(user["created_at"])),
            ("revision", user["revision"]),
        ]
    )


def _signs_in(user: Document) -> str:
    if user["source"] == "oidc":
        return "with the identity provider"
    return "with a password" if user["has_password"] else "with API tokens only"


def _create(chosen: argparse.Namespace) -> None:
    if not chosen.role:
        raise Usage("--role is missing: what shall the user be trusted with?")
    body: Document = {"name": chosen.name, **_given(chosen)}
    if not chosen.no_password:
        body["password"] = new_password(chosen.password_file, chosen.name)
    with connect(chosen) as client:
        made = client.call("POST", "users", body).document
    Display(chosen).result(made, made["name"], f"made {made['name']}: {listed(made['roles'])}")


def _change(chosen: argparse.Namespace) -> None:
    body = _given(chosen)
    if chosen.unlock:
        body["disabled"] = False
    if chosen.no_tenant:
        body["tenant"] = None
    if not body:
        raise Usage("nothing to change: give --role, --tenant, --display-name, --lock or --unlock")
    with connect(chosen) as client:
        made = client.call("PATCH", _path(chosen), body, if_match=at_revision(chosen)).document
    Display(chosen).result(made, made["name"], f"changed {made['name']}")


def _given(chosen: argparse.Namespace) -> Document:
    named = {
        "roles": chosen.role,
        "tenant": chosen.tenant,
        "display_name": chosen.display_name,
        "disabled": True if chosen.lock else None,
    }
    return stated(named)


def _delete(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Delete the user {chosen.name}, with all sessions and API tokens?"):
        raise Unfinished("nothing was deleted")
    with connect(chosen) as client:
        client.call("DELETE", _path(chosen), if_match=at_revision(chosen))
    Display(chosen).done(chosen.name, f"deleted {chosen.name}")


def _set_password(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        own = client.get("session")["name"] == chosen.name
        body = {}
        if own:
            body["old_password"] = _secret(chosen.old_password_file, "Your old password: ",
                                           "--old-password-file")  # fmt: skip
        body["password"] = new_password(chosen.password_file, chosen.name)
        client.call("PUT", _path(chosen, "password"), body)
    Display(chosen).done(chosen.name, f"{chosen.name} has a new password")


def new_password(file: Path | None, name: str) -> str:
    """A password from a file, or typed twice.

    Raises:
        Usage: the two differ, or there is nobody to ask.
    """
    password = _secret(file, f"New password of {name}: ", "--password-file")
    if file is None and getpass.getpass("Again: ") != password:
        raise Usage("the two passwords differ; nothing was changed")
    return password


def _secret(file: Path | None, question: str, flag: str) -> str:
    if file is not None:
        return read_text(file).rstrip("\n")
    if not sys.stdin.isatty():
        raise Usage(f"there is nobody to ask here: give {flag}")
    return getpass.getpass(question)


def _sessions(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:
        if chosen.end:
            client.call("DELETE", _path(chosen, "sessions", quote(chosen.end, safe="")))
            display.done(chosen.end, f"ended the session {chosen.end}")
        elif chosen.end_all:
            if not confirm(chosen, f"Sign {chosen.name} out everywhere?"):
                raise Unfinished("nothing was ended")
            client.call("DELETE", _path(chosen, "sessions"))
            display.done(chosen.name, f"{chosen.name} is signed in nowhere")
        else:
            found = client.get(_path(chosen, "sessions"))
            display.listing(
                found, "sessions", SESSIONS, lambda session: str(session["id"]),
                nothing="signed in nowhere",
            )  # fmt: skip
