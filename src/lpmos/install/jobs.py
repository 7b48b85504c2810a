"""From an approved task that is a job to what its agent is told."""

from lpmos.model.installplan import JobOrder
from lpmos.model.task import Task


def order_job(task: Task) -> JobOrder | None:
    """What the agent of an approved job is told; None where it has no approved plan."""
    if task.job is None or task.job_plan is None or task.intent is None:
        return None
    return JobOrder(
        task_id=task.task_id,
        intent_id=task.intent.intent_id,
        hostname=task.hostname,
        job=task.job_plan,
        ssh_keys=task.ssh_keys if task.job.has_ssh else (),
    )
