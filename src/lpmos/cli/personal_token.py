"""`lpmos token`: API tokens for programs, and those that are signed offline with the key."""

import argparse
from urllib.parse import quote

from lpmos.cli import token
from lpmos.cli.client import stated
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished
from lpmos.cli.options import add_yes, command, group, positive
from lpmos.cli.words import ago, listed
from lpmos.model.access import Role

COLUMNS = (
    Column("TOKEN", lambda token: token["id"]),
    Column("NAME", lambda token: token["name"]),
    Column("ROLES", lambda token: listed(token["roles"]), drop=2),
    Column("USED", lambda token: ago(token["last_used_at"], utc_now()) or "never"),
    Column("CREATED", lambda token: ago(token["created_at"], utc_now()), drop=3),
    Column("ENDS", lambda token: ago(token["expires_at"], utc_now()), drop=1),
)
KEY_COLUMNS = (
    Column("TOKEN", lambda token: token["id"]),
    Column("SUBJECT", lambda token: token["subject"]),
    Column("ROLES", lambda token: listed(token["roles"]), drop=2),
    Column("FIRST USED", lambda token: ago(token["first_used_at"], utc_now()) or "never"),
    Column("FROM", lambda token: token["address"], drop=3),
    Column("ENDS", lambda token: ago(token["expires_at"], utc_now()), drop=1),
    Column("", lambda token: "revoked" if token["revoked"] else ""),
)


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `token`."""
    kinds = group(parser)
    create = command(
        kinds, "create", _create, "make an API token for a program", calls=("POST /tokens",),
        more="It is shown this once: give it to the program as LPMOS_TOKEN.",
    )  # fmt: skip
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument(
        "--role", action="append", choices=[role.value for role in Role],
        help="no more than this of your roles; repeatable (else all that you have)",
    )  # fmt: skip
    create.add_argument("--days", type=positive, metavar="N", help="how long it lasts (else 90)")
    _user(create)
    listing = command(kinds, "list", _list, "list API tokens", calls=("GET /tokens",))
    _user(listing)
    revoke = command(
        kinds, "revoke", _revoke, "end an API token at once", calls=("DELETE /tokens/{token_id}",)
    )
    revoke.add_argument("token", metavar="TOKEN", help="its id, as `token list` shows it")
    _user(revoke)
    add_yes(revoke)
    command(
        kinds, "list-signed", _list_signed, "list the tokens signed offline that were used",
        calls=("GET /key-tokens",),
    )  # fmt: skip
    revoke_signed = command(
        kinds, "revoke-signed", _revoke_signed, "end a token that was signed offline",
        calls=("DELETE /key-tokens/{key_token_id}",),
    )  # fmt: skip
    revoke_signed.add_argument("token", metavar="TOKEN", help="its id (`jti`)")
    add_yes(revoke_signed)
    help_text = "sign a token offline, on a machine that has the control plane's key"
    token.define(kinds.add_parser("sign", help=help_text, description=help_text))


def _user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="NAME", help="another user's (administrators)")


def _create(chosen: argparse.Namespace) -> None:
    body = stated({"name": chosen.name, "roles": chosen.role, "lifetime_days": chosen.days})
    with connect(chosen) as client:
        made = client.call("POST", "tokens", body, parameters={"user": chosen.user}).document
    display = Display(chosen)
    if display.for_person(made, made["token"]):
        print(made["token"])
        display.note(
            f"the token {made['name']} of {made['user']} with the roles {listed(made['roles'])};"
            f" it ends {ago(made['expires_at'], utc_now())}. It is not shown again"
        )


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.get("tokens", user=chosen.user)
    Display(chosen).listing(
        found, "tokens", COLUMNS, lambda token: str(token["id"]), nothing="no API tokens"
    )


def _revoke(chosen: argparse.Namespace) -> None:
    _end(chosen, f"tokens/{quote(chosen.token, safe='')}", user=chosen.user)


def _list_signed(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.get("key-tokens")
    Display(chosen).listing(
        found, "key_tokens", KEY_COLUMNS, lambda token: str(token["id"]),
        nothing="no token signed offline was used",
    )  # fmt: skip


def _revoke_signed(chosen: argparse.Namespace) -> None:
    _end(chosen, f"key-tokens/{quote(chosen.token, safe='')}")


def _end(chosen: argparse.Namespace, path: str, **parameters: object) -> None:
    if not confirm(chosen, f"Revoke the token {chosen.token}? Its program is locked out at once."):
        raise Unfinished("nothing was revoked")
    with connect(chosen) as client:
        client.call("DELETE", path, parameters=parameters)
    Display(chosen).done(chosen.token, f"revoked {chosen.token}")
