"""The template calls of the API (A12): list, get, put, versions, preview for a task, validate."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.conditional import ETAG, IfMatch, named_revision, tagged
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.documents import Held
from lpmos.core.tasks import Tasks
from lpmos.core.templates import Templates
from lpmos.model.access import Permission
from lpmos.model.errors import FieldProblem, NotFound
from lpmos.model.template import NAME_PATTERN, Content, NewTemplate, Template


class TemplateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A template in a list, without its text."""

    name: str
    version: int
    description: str
    updated_by: str
    updated_at: datetime
    revision: int


class TemplateView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a template; `revision` is for `If-Match`."""

    name: str
    version: int
    description: str
    content: str
    updated_by: str
    updated_at: datetime
    revision: int | None = None


class TemplateList(msgspec.Struct, frozen=True):
    """Every template, by name."""

    templates: list[TemplateSummary]


class TemplateVersions(msgspec.Struct, frozen=True):
    """Every version of one template, the newest first."""

    versions: list[TemplateView]


class PreviewTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For which task to render; `content` in place of what is stored, to try a change."""

    task_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    content: Content | None = None


class PreviewView(msgspec.Struct, frozen=True):
    """What the template makes."""

    text: str


class ValidateTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text to be checked; with the `name` of an installer's template also as an answer file."""

    content: Content
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)] | None = None


class ValidationView(msgspec.Struct, frozen=True):
    """Whether the text is a template, and if not, why."""

    valid: bool
    errors: list[FieldProblem]


@get("/templates", responses=PROBLEMS, opt=needs(Permission.TEMPLATE_READ))
async def list_templates(templates: NamedDependency[Templates]) -> TemplateList:
    """Every template, without its text."""
    return TemplateList([_summary(held) for held in templates.all()])


@get(
    "/templates/{name:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.TEMPLATE_READ),
)
async def show_template(
    name: FromPath[str], templates: NamedDependency[Templates]
) -> Response[TemplateView]:
    """The newest version of a template."""
    held = await templates.read(name)
    return tagged(_view(held.name, held.document, held.revision), held.revision)


@put(
    "/templates/{name:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.TEMPLATE_WRITE),
)
async def put_template(
    name: FromPath[str],
    data: JSONBody[NewTemplate],
    request: CallerRequest,
    templates: NamedDependency[Templates],
    if_match: IfMatch = None,
) -> Response[TemplateView]:
    """Store a new version of a template."""
    held = await templates.put(name, data, by=actor(request), at_revision=named_revision(if_match))
    return tagged(_view(held.name, held.document, held.revision), held.revision)


@delete("/templates/{name:str}", responses=PROBLEMS, opt=needs(Permission.TEMPLATE_WRITE))
async def delete_template(
    name: FromPath[str],
    request: CallerRequest,
    templates: NamedDependency[Templates],
    if_match: IfMatch = None,
) -> None:
    """Delete a template; its versions stay readable."""
    await templates.delete(name, by=actor(request), at_revision=named_revision(if_match))


@get("/templates/{name:str}/versions", responses=PROBLEMS, opt=needs(Permission.TEMPLATE_READ))
async def list_versions(
    name: FromPath[str], templates: NamedDependency[Templates]
) -> TemplateVersions:
    """Every version that was stored under this name, the newest first."""
    versions = templates.versions(name)
    if not versions:
        raise NotFound(f"there was never a template {name[:64]}")
    return TemplateVersions([_view(name, each) for each in versions])


@get(
    "/templates/{name:str}/versions/{version:int}",
    responses=PROBLEMS,
    opt=needs(Permission.TEMPLATE_READ),
)
async def show_version(
    name: FromPath[str], version: FromPath[int], templates: NamedDependency[Templates]
) -> TemplateView:
    """One version of a template."""
    return _view(name, await templates.version(name, version))


@post(
    "/templates/{name:str}/preview",
    responses=PROBLEMS,
    status_code=200,
    opt=needs(Permission.TEMPLATE_READ),
)
async def preview_template(
    name: FromPath[str],
    data: JSONBody[PreviewTemplate],
    request: CallerRequest,
    templates: NamedDependency[Templates],
    tasks: NamedDependency[Tasks],
) -> PreviewView:
    """What a template makes for the machine of a task; nothing is stored."""
    task = await tasks.find(data.task_id, request.user.tenant)
    content = data.content
    if content is None:
        content = (await templates.read(name)).document.content
    return PreviewView(await templates.preview(content, task, request.user.tenant, name))


@post(
    "/templates/validate",
    responses=PROBLEMS,
    status_code=200,
    opt=needs(Permission.TEMPLATE_READ),
)
async def validate_template(
    data: JSONBody[ValidateTemplate], templates: NamedDependency[Templates]
) -> ValidationView:
    """Whether a text is a template; nothing is stored."""
    found = await templates.problems(data.content, data.name)
    return ValidationView(not found, found)


def _summary(held: Held[Template]) -> TemplateSummary:
    document = held.document
    return TemplateSummary(
        name=held.name,
        version=document.version,
        description=document.description,
        updated_by=document.updated_by,
        updated_at=document.updated_at,
        revision=held.revision,
    )


def _view(name: str, document: Template, revision: int | None = None) -> TemplateView:
    return TemplateView(
        name=name,
        version=document.version,
        description=document.description,
        content=document.content,
        updated_by=document.updated_by,
        updated_at=document.updated_at,
        revision=revision,
    )


TEMPLATE_CALLS = (
    list_templates,
    show_template,
    put_template,
    delete_template,
    list_versions,
    show_version,
    preview_template,
    validate_template,
)
