"""Task documents within the store's limit (S13), whatever machines and people put into them.

The rule: a change of a task is never refused for its size. What is for reading only is cut first
(old log lines, the output of a command, the evidence of a job's steps, the inventory, of which the
machine's own record has more); what decides the task's way is never touched. A finished task's
document is folded (`lpmos.core.folding`).
"""

import msgspec

from lpmos.core.folding import folded, unfolded
from lpmos.model.task import Task
from lpmos.store import records

OUTPUT_CHARACTERS = 500
EVIDENCE_LINES = 2
"""Of each step of a job: the first says most."""
EVIDENCE_CHARACTERS = 200


def fitted(
    task: Task, over: bytes | None = None, *, read: Task | None = None
) -> tuple[Task, bytes]:
    """The task, cut as far as it must be, and its document; the others as for `records.encode`.

    Raises:
        RecordTooLarge: all that can be cut is cut (a new task's own limits keep it from this).
    """
    whole = over and unfolded(over)
    for cut in (_newest_lines, _short_output, _short_evidence, _small_hardware, _no_hardware):
        try:
            return task, _document(task, whole, read)
        except records.RecordTooLarge:
            task = cut(task)
    return task, _document(task, whole, read)


def _document(task: Task, over: bytes | None, read: Task | None) -> bytes:
    document = records.encode(task, over, read=read)
    return folded(document, task) if task.finished else document


def _newest_lines(task: Task) -> Task:
    return msgspec.structs.replace(task, logs=task.logs[-20:])


def _short_output(task: Task) -> Task:
    if task.error is None or task.error.output is None:
        return task
    error = msgspec.structs.replace(task.error, output=task.error.output[-OUTPUT_CHARACTERS:])
    return msgspec.structs.replace(task, error=error)


def _short_evidence(task: Task) -> Task:
    results = tuple(
        msgspec.structs.replace(
            result,
            summary=result.summary[:OUTPUT_CHARACTERS],
            evidence=tuple(line[:EVIDENCE_CHARACTERS] for line in result.evidence[:EVIDENCE_LINES]),
        )
        for result in task.results
    )
    return msgspec.structs.replace(task, results=results)


def _small_hardware(task: Task) -> Task:
    if task.hardware is None:
        return task
    cpu = msgspec.structs.replace(task.hardware.cpu, flags=())
    hardware = msgspec.structs.replace(task.hardware, pci=(), cpu=cpu)
    return msgspec.structs.replace(task, hardware=hardware)


def _no_hardware(task: Task) -> Task:
    return msgspec.structs.replace(task, hardware=None)
