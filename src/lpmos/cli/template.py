"""`lpmos template`: install templates, their versions, and what they make for a task."""

import argparse
from functools import partial
from pathlib import Path
from urllib.parse import quote

from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished
from lpmos.cli.options import (
    add_at_revision,
    add_yes,
    at_revision,
    command,
    group,
    named_command,
)
from lpmos.cli.task_create import read_text
from lpmos.cli.task_names import FINDS, task_id
from lpmos.cli.words import ago

COLUMNS = (
    Column("TEMPLATE", lambda template: template["name"]),
    Column("VERSION", lambda template: template["version"], right=True),
    Column("DESCRIPTION", lambda template: template["description"], drop=2),
    Column("CHANGED", lambda template: ago(template["updated_at"], utc_now()), drop=1),
    Column("BY", lambda template: template["updated_by"], drop=3),
)
VERSIONS = COLUMNS[1:]
_named = partial(named_command, what="the template")


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `template`."""
    kinds = group(parser)
    command(kinds, "list", _list, "list templates", calls=("GET /templates",))
    show = _named(
        kinds, "show", _show, "print a template's text",
        calls=("GET /templates/{name}", "GET /templates/{name}/versions/{version}"),
    )  # fmt: skip
    show.add_argument("--version", type=int, metavar="N", help="an older one (else the newest)")
    put = _named(
        kinds, "put", _put, "store a new version of a template", calls=("PUT /templates/{name}",)
    )
    put.add_argument("file", type=Path, metavar="FILE", help="the text; `-` is standard input")
    put.add_argument("--description", default="", help="what it is for")
    add_at_revision(put)
    delete = _named(
        kinds, "delete", _delete, "delete a template", calls=("DELETE /templates/{name}",)
    )
    add_at_revision(delete)
    add_yes(delete)
    _named(
        kinds, "versions", _versions, "list a template's versions",
        calls=("GET /templates/{name}/versions",),
    )  # fmt: skip
    preview = _named(
        kinds, "preview", _preview, "show what a template makes for a task",
        calls=(*FINDS, "POST /templates/{name}/preview"),
    )  # fmt: skip
    preview.add_argument("--task", required=True, metavar="TASK", help="id, SN or host name")
    preview.add_argument("--file", type=Path, metavar="FILE", help="try this text instead")
    validate = command(
        kinds, "validate", _validate, "check a text without storing it",
        calls=("POST /templates/validate",),
    )  # fmt: skip
    validate.add_argument("file", type=Path, metavar="FILE", help="`-` is standard input")
    validate.add_argument(
        "--name", help="check it as the template of this name: `installer.kickstart` and the like"
    )


def _path(chosen: argparse.Namespace, *below: object) -> str:
    return "/".join(["templates", quote(chosen.name, safe=""), *(str(each) for each in below)])


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.get("templates")
    Display(chosen).listing(
        found, "templates", COLUMNS, lambda template: str(template["name"]), nothing="no templates"
    )


def _show(chosen: argparse.Namespace) -> None:
    below = () if chosen.version is None else ("versions", chosen.version)
    with connect(chosen) as client:
        template = client.get(_path(chosen, *below))
    display = Display(chosen)
    if display.for_person(template, template["name"]):
        print(template["content"], end="" if template["content"].endswith("\n") else "\n")


def _put(chosen: argparse.Namespace) -> None:
    body = {"content": read_text(chosen.file), "description": chosen.description}
    with connect(chosen) as client:
        made = client.call("PUT", _path(chosen), body, if_match=at_revision(chosen)).document
    said = f"{made['name']}: version {made['version']} (revision {made['revision']})"
    Display(chosen).result(made, made["name"], said)


def _delete(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Delete the template {chosen.name}?"):
        raise Unfinished("nothing was deleted")
    with connect(chosen) as client:
        client.call("DELETE", _path(chosen), if_match=at_revision(chosen))
    Display(chosen).done(chosen.name, f"deleted {chosen.name}; its versions stay")


def _versions(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.get(_path(chosen, "versions"))
    Display(chosen).listing(found, "versions", VERSIONS, lambda each: str(each["version"]))


def _preview(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        body: dict[str, object] = {"task_id": task_id(client, chosen.task)}
        if chosen.file:
            body["content"] = read_text(chosen.file)
        made = client.call("POST", _path(chosen, "preview"), body).document
    display = Display(chosen)
    if display.json:
        display.document(made)
    else:
        print(made["text"], end="" if made["text"].endswith("\n") else "\n")


def _validate(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        body = {"content": read_text(chosen.file)}
        if chosen.name:
            body["name"] = chosen.name
        found = client.call("POST", "templates/validate", body).document
    display = Display(chosen)
    if display.json:
        display.document(found)
    elif found["valid"]:
        display.line(f"{chosen.file}: a valid template")
    if not found["valid"]:
        wrong = "\n".join(f"  {each['field']}: {each['message']}" for each in found["errors"])
        raise Unfinished(f"{chosen.file} is no valid template\n{wrong}")
