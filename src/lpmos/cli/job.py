"""A job as a person gives it in flags, and as one is shown: its steps, their disks, their results.

The rule: a disk whose contents a step destroys is named as such before anybody approves it.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from lpmos.cli.client import Document
from lpmos.cli.disk_plan import DISKS
from lpmos.cli.display import Column, Display, get
from lpmos.cli.failures import Usage
from lpmos.cli.words import listed, plain, size, span

NUMBERS = ("percent", "size_bytes", "passes", "minutes")
WORDS = ("mode", "level")
YES_OR_NO = ("ssh",)
_OUTCOME_STYLES = {"passed": "green", "failed": "red"}

STEPS = (
    Column("STEP", lambda step: step["asked"]["step"]),
    Column("WITH", lambda step: arguments(step["asked"])),
    Column("DISKS", lambda step: listed(step["devices"])),
    Column("", lambda step: "WRITES" if step["writes"] else ""),
)
RESULTS = (
    Column("STEP", lambda result: result["step"]),
    Column("RESULT", lambda result: result["outcome"]),
    Column("TOOK", lambda result: span(result["seconds"]), right=True),
    Column("", lambda result: result["summary"]),
)


def add_job(fields: "argparse._ArgumentGroup") -> None:
    """The flag that makes a task a job."""
    fields.add_argument(
        "--job",
        dest="steps",
        action="append",
        metavar="STEP[:NAME=VALUE,…]|JSON",
        help="in place of an install, a step for the agent: memory_test, disk_test, disk_erase,"
        " inventory, rescue; repeatable, done in this order. Values: percent, size_bytes, passes,"
        " disk=SERIAL (repeatable), mode=write, overwrite=yes, level, minutes, ssh=yes",
    )


def job_of(steps: list[str]) -> Document:
    """The job that the flags say.

    Raises:
        Usage: a step cannot be sent.
    """
    return {"steps": [_step(text) for text in steps]}


def _step(text: str) -> Document:
    if text.lstrip().startswith("{"):
        return _document(text)
    name, _, rest = text.partition(":")
    step: dict[str, Any] = {"step": name}
    disks: list[Document] = []
    overwrite = False
    for word in filter(None, rest.split(",")):
        field, given, value = word.partition("=")
        if not given:
            raise Usage(f"--job {text}: {word} has no value")
        if field == "disk":
            disks.append({"serial": value})
        elif field == "overwrite":
            overwrite = _yes(text, field, value)
        else:
            step[field] = _value(text, field, value)
    if disks:
        step["disks"] = [{**disk, "overwrite": True} if overwrite else disk for disk in disks]
    elif overwrite:
        raise Usage(f"--job {text}: overwrite is of a disk; name it by disk=SERIAL")
    return step


def _value(text: str, field: str, value: str) -> int | bool | str:
    if field in NUMBERS:
        return _number(text, field, value)
    if field in YES_OR_NO:
        return _yes(text, field, value)
    if field in WORDS:
        return value
    raise Usage(f"--job {text}: {field} is unknown")


def _document(text: str) -> Document:
    try:
        found: Document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Usage(f"--job is not JSON: {error}") from error
    return found


def _yes(text: str, field: str, value: str) -> bool:
    if value not in ("yes", "no"):
        raise Usage(f"--job {text}: {field}={value}: yes or no")
    return value == "yes"


def _number(text: str, field: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise Usage(f"--job {text}: {field}={value}: a whole number")
    return int(value)


def arguments(asked: Document) -> str:
    """What a step was given besides its disks."""
    return listed({name: asked[name] for name in asked if name not in ("step", "disks")})


def show_job(display: Display, task: Document) -> None:
    """The steps of a job, the disks that are written, and how the steps ended."""
    job, plan, results = (get(task, name) for name in ("job", "job_plan", "results"))
    if not job:
        return
    display.heading("steps")
    display.table((plan or _unplanned(job))["steps"], STEPS)
    if written := disks_written(plan):
        display.heading("disks that are written")
        display.table(written, DISKS)
    if results:
        display.heading("results")
        display.table(results, RESULTS)
        for result in results:
            for line in result["evidence"]:
                display.line(
                    f"  {result['step']}: {line}", _OUTCOME_STYLES.get(result["outcome"], "")
                )


def _unplanned(job: Document) -> Document:
    """A job before its machine has reported."""
    return {"steps": [{"asked": each, "devices": [], "writes": False} for each in job["steps"]]}


def disks_written(plan: Document | None) -> list[Document]:
    """The disks whose contents are lost."""
    if not plan:
        return []
    devices = {device for step in plan["steps"] if step["writes"] for device in step["devices"]}
    return [disk for disk in plan["disks"] if disk["device"] in devices]


def job_lines(plan: Document) -> Iterator[str]:
    """The same in lines, for whoever is asked."""
    for number, step in enumerate(plan["steps"], 1):
        said = arguments(step["asked"])
        words = (step["asked"]["step"], f"({said})" if said else "", listed(step["devices"]))
        mark = ": WRITES" if step["writes"] else ""
        yield f"{number}. {' '.join(plain(word) for word in words if word)}{mark}"
    for disk in disks_written(plan):
        held = listed(disk.get("overwrites") or ())
        named = [disk["device"], size(disk["size_bytes"]), disk.get("model"), disk.get("serial")]
        yield " ".join(plain(word) for word in named if word)
        yield f"  LOST: {plain(held)}" if held else "  LOST: what it holds; it shows nothing"


def question(task: Document) -> str:
    """What whoever approves a job is asked."""
    written = ", ".join(plain(disk["device"]) for disk in disks_written(task["job_plan"]))
    return f"Do this job on {task['sn']}" + (f", and write {written}?" if written else "?")
