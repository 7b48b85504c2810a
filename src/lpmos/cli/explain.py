"""`lpmos explain`: why a machine is where it is, what was seen of it last, and what to do."""

import argparse

from lpmos.cli.client import Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, get, utc_now
from lpmos.cli.options import declared
from lpmos.cli.task import add_task
from lpmos.cli.task_names import FINDS, task_id
from lpmos.cli.unmatched import show_verdicts
from lpmos.cli.words import ago, plain, span, stamp

CALLS = (
    *FINDS, "GET /tasks/{task_id}/explanation", "GET /tasks/{task_id}",
    "GET /tasks/{task_id}/decision",
)  # fmt: skip
LAYERS = (
    Column("TIME", lambda layer: stamp(layer["at"])),
    Column("", lambda layer: ago(layer["at"], utc_now()), drop=1),
    Column("LAYER", lambda layer: layer["layer"]),
    Column("", lambda layer: layer["what"]),
)
PARTS = (
    Column("PART", lambda part: part["part"]),
    Column("HERE", lambda part: _known_span(part, "here_s"), right=True),
    Column("HALF OF THEM", lambda part: _known_span(part, "p50_s"), right=True),
    Column("19 OF 20", lambda part: _known_span(part, "p95_s"), right=True),
    Column("TASKS", lambda part: get(part, "count"), right=True, drop=1),
)
DECIDES = {
    "machine": "after the machine has reported its hardware",
    "rule": "the rule that matches; it approves within moments",
    "person": "a person: lpmos task approve",
}


def define(parser: argparse.ArgumentParser) -> None:
    """The arguments of `explain`."""
    declared(parser, _run, CALLS)
    parser.description = (
        "What a task waits for, since when and until when, how long that usually takes for this"
        " model, the last sign of each layer of its boot, and what is probably wrong. Where"
        " somebody has to approve it: what each rule says of it."
    )
    add_task(parser)


def _run(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = task_id(client, chosen.task)
        explained = client.get(f"tasks/{found}/explanation")
        display = Display(chosen)
        if not display.for_person(explained, found):
            return
        task = client.get(f"tasks/{found}")
        decision = client.get(f"tasks/{found}/decision")
    show(display, task, explained)
    if task["status"] in ("pending_approval", "approved", "rejected"):
        _show_decision(display, decision)


def show(display: Display, task: Document, explained: Document) -> None:
    """Why it waits; a control plane of the version before says less of it."""
    now = utc_now()
    waits_for = get(task, "waits_for")
    display.fields(
        [
            ("task", task["task_id"]),
            ("machine", f"{task['idc']} / {task['sn']} / {task['mac']}"),
            ("model", explained["model"]),
            ("status", task["status"]),
            ("waits for", waits_for and f"{waits_for['who']}: {waits_for['what']}"),
            ("since", f"{stamp(explained['since'])} ({ago(explained['since'], now)})"),
            ("fails", explained["until"] and ago(explained["until"], now)),
            ("usually", _usually(explained["usual"])),
            ("agent", _agent(explained["agent_online"])),
        ]
    )
    failure = task["failure"]
    if failure:
        display.heading("failed")
        display.line(plain(failure["reason"]), "red")
        display.line(f"→ {plain(failure['what_to_do'])}")
    if explained["causes"]:
        display.heading("probably")
        for cause in explained["causes"]:
            display.line(cause["cause"], "yellow")
            display.line(f"→ {cause['do']}")
    elif not failure and waits_for:
        display.note("nothing looks wrong: it takes its time")
    display.heading("seen last")
    display.table(explained["layers"], LAYERS)
    if parts := _parts(get(task, "durations") or {}, explained["parts"]):
        display.heading(f"how long it takes: {plain(explained['model'] or 'any model')}")
        display.table(parts, PARTS)


def _parts(durations: Document, usual: list[Document]) -> list[Document]:
    """What is usual of each part, with what it took here; then what is known of this task only."""
    known = {part["part"]: part for part in usual}
    names = [*known, *(part for part in durations if part not in known)]
    return [{"part": part, "here_s": durations.get(part), **known.get(part, {})} for part in names]


def _known_span(part: Document, name: str) -> str:
    seconds = get(part, name)
    return "" if seconds is None else span(seconds)


def _show_decision(display: Display, decision: Document) -> None:
    approval = decision["approval"]
    display.heading("decision")
    display.fields(
        [
            ("waits for", DECIDES.get(decision["waits_for"], "")),
            ("decided by", get(approval, "approved_by") or get(approval, "rejected_by")),
            ("", get(approval, "notes") or get(approval, "reason")),
        ]
    )
    show_verdicts(display, decision["rules"])


def _usually(usual: Document | None) -> str:
    if usual is None:
        return ""
    return f"{span(usual['p50_s'])}, seldom over {span(usual['p95_s'])} ({usual['count']} tasks)"


def _agent(online: bool | None) -> str:
    return {True: "is heard", False: "is not heard", None: ""}[online]
