"""Why a task is where it is: what it waits for, what was seen last, what is probably wrong (O6)."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.explaining import Explaining, Explanation
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission


@get("/tasks/{task_id:str}/explanation", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def explain_task(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    explaining: NamedDependency[Explaining],
) -> Explanation:
    """What the task waits for and since when, the last sign of each layer, and likely causes."""
    tenant = request.user.tenant
    return explaining.of((await tasks.read(task_id, tenant)).task, tenant)


EXPLANATION_CALLS = (explain_task,)
