"""The body of a new task read, with all that is wrong in it named at once.

What the regions offer is part of that: where a field is wrong, the region and the OS are looked at
all the same. Of a body without another fault they are looked at when the task is made, for an
earlier call with the same idempotency key may have made it.
"""

from collections.abc import Sequence

import msgspec

from lpmos.core.creation_checks import offer_problem, problems_of
from lpmos.core.fleet import Fleet
from lpmos.core.problems import decode_body
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.machine import parse_idc
from lpmos.model.newtask import NewTask, TaskSpec
from lpmos.model.newtaskcheck import check_new_task, of_tenant

PLACES = ("idc", "region_id")
SYSTEMS = ("os_type", "os_version")


def read_new_task(body: bytes, tenant: str | None, fleet: Fleet) -> TaskSpec:
    """What a user of `tenant` asks for.

    Raises:
        msgspec.DecodeError: it is not JSON.
        InvalidInput: names each wrong field.
    """
    try:
        return of_tenant(_checked(body), tenant)
    except InvalidInput as error:
        raise InvalidInput(*error.problems, *_others(body, error, tenant, fleet)) from None


def offer_problems(spec: TaskSpec, fleet: Fleet) -> list[FieldProblem]:
    """What of it no region offers; nothing where the regions are not known here yet."""
    capabilities = fleet.region(spec.idc).capabilities
    if capabilities is None and not fleet.connected:
        return []
    return problems_of(spec, capabilities, fleet.regions)


def _checked(body: bytes) -> TaskSpec:
    try:
        return check_new_task(msgspec.json.decode(body, type=NewTask))
    except msgspec.ValidationError:  # once more, for the names of all fields that are wrong
        try:
            return check_new_task(decode_body(body, NewTask, check_new_task))
        except InvalidInput as error:
            raise InvalidInput(*_of_a_job(error.problems)) from None


def _of_a_job(problems: Sequence[FieldProblem]) -> Sequence[FieldProblem]:
    """Without the missing OS, where what is wrong is the job that stands in its place."""
    if not any(problem.field.partition(".")[0] == "job" for problem in problems):
        return problems
    return [problem for problem in problems if problem.field not in SYSTEMS]


def _others(
    body: bytes, error: InvalidInput, tenant: str | None, fleet: Fleet
) -> list[FieldProblem]:
    """What else is wrong in a body of which some fields are."""
    named = {problem.field for problem in error.problems}
    document = msgspec.json.decode(body)
    if not isinstance(document, dict):
        return []
    texts = {
        name: value
        for name, value in document.items()
        if isinstance(value, str) and name not in named
    }
    problems = []
    if tenant is not None and texts.get("tenant", tenant) != tenant:
        problems.append(FieldProblem("tenant", f"must be {tenant}"))
    place = next((name for name in PLACES if name in texts), None)
    if place is None or named & {*PLACES}:
        return problems
    idc = parse_idc(texts[place], place)
    capabilities = fleet.region(idc).capabilities
    if capabilities is None and not fleet.connected:
        return problems
    os_type, os_version = (texts.get(name) for name in SYSTEMS)
    problem = offer_problem(idc, os_type, os_version, capabilities, fleet.regions)
    if problem is not None:
        field = place if problem.field == "idc" else problem.field
        problems.append(FieldProblem(field, problem.message))
    return problems
