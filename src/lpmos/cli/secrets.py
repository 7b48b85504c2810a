"""`lpmos secrets`: the keys that stored secrets are sealed with, and their rotation."""

import argparse
from pathlib import Path
from urllib.parse import quote

from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, get, utc_now
from lpmos.cli.failures import Unfinished
from lpmos.cli.options import add_yes, command, group
from lpmos.cli.words import ago

KEYS = (
    Column("KEY", lambda key: key["key_id"]),
    Column("", lambda key: "current" if key["current"] else ""),
    Column("SEALS", lambda key: key["values"], right=True),
    Column("", lambda key: "" if key["present"] else "MISSING: what it seals cannot be opened"),
)


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `secrets`."""
    kinds = group(parser)
    command(
        kinds, "status", _status, "show the keys and how much each seals", calls=("GET /secrets",)
    )
    command(
        kinds, "rotate", _rotate, "seal every stored secret with the newest key",
        calls=("POST /secrets/rotate",),
        more="Goes on until all is done; after Ctrl-C the same command goes on from there.",
    )  # fmt: skip
    made = kinds.add_parser(
        "new-key",
        help="add a key to the key file of this machine; the next rotation takes it",
        description="Add a key to the key file of this machine. Copy the file to every control"
        " plane, then run `lpmos secrets rotate`.",
    )
    made.add_argument(
        "--secrets-key-file",
        type=Path,
        default=Path("/var/lib/lpmos/secrets.key"),
        metavar="FILE",
        help="the control plane's key file (default: %(default)s)",
    )
    made.set_defaults(run=_new_key)
    remove = command(
        kinds, "remove-key", _remove, "take away a key that seals nothing any more",
        calls=("DELETE /secrets/keys/{key_id}",),
    )  # fmt: skip
    remove.add_argument("key_id", metavar="KEY", help="its id, as `secrets status` shows it")
    add_yes(remove)


def _status(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.get("secrets")
    display = Display(chosen)
    display.listing(found, "keys", KEYS, lambda key: str(key["key_id"]), nothing="no keys")
    if display.people:
        display.note(f"keys from {found['source']}")
        if finished := get(found, "rotation", "finished_at"):
            display.note(f"rotated {ago(finished, utc_now())}")
        elif found["rotation"]:
            display.note("a rotation is not finished: run `lpmos secrets rotate`")


def _rotate(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:
        while True:
            step = client.call("POST", "secrets/rotate").document
            if step["done"] or not step["rewrapped_now"]:
                break
            display.note(f"{step['rewrapped']} values sealed anew with {step['key_id']}")
    display.result(
        step, step["key_id"], f"{step['rewrapped']} values are sealed with {step['key_id']}"
    )
    if step["failed"]:
        raise Unfinished(
            "these do not open; set them anew, or bring their key back, and rotate again:\n"
            + "\n".join(f"  {name}" for name in step["failed"])
        )


def _new_key(chosen: argparse.Namespace) -> None:
    from lpmos.app.keyring import FileKeys

    print(FileKeys(chosen.secrets_key_file, make=False).add_new())


def _remove(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Remove the key {chosen.key_id} for good?"):
        raise Unfinished("nothing was removed")
    with connect(chosen) as client:
        client.call("DELETE", f"secrets/keys/{quote(chosen.key_id, safe='')}")
    Display(chosen).done(chosen.key_id, f"removed the key {chosen.key_id}")
