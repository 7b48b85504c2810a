"""Templates in the store (S8): the newest version counts, and every earlier one stays readable."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol

from lpmos.core import rendering
from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.fleet import Fleet
from lpmos.core.template_process import TemplateProcess
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import FieldProblem, InvalidInput, NotFound
from lpmos.model.task import Task
from lpmos.model.template import NewTemplate, Template, check_template
from lpmos.store import keys, records
from lpmos.store.api import CasConflict, Put, Store
from lpmos.store.mirror import Mirror

ATTEMPTS = 10
VERSIONS = "template-versions"
PACKAGE = "lpmos"
"""Who is named for a template that nobody stored."""


class PackageTemplate(Protocol):
    """A template that the package itself has: one of its name in the store goes before it."""

    @property
    def content(self) -> str:
        """Its text."""

    @property
    def description(self) -> str:
        """What it is for."""

    @property
    def check(self) -> str:
        """What looks at a text that it made, as `render_child.Asked` names it."""

    def samples(self) -> Sequence[Mapping[str, Any]]:
        """Variables that every text of this name must render with; all have the same names."""

    def variables(self, task: Task) -> Mapping[str, Any]:
        """Those of a task, with nothing secret.

        Raises:
            InvalidInput: nothing can be made for this task; the reason is named.
        """


class Templates:
    """The templates that all regions share.

    `own` are the package's, by name.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        fleet: Fleet,
        clock: Clock,
        own: Mapping[str, PackageTemplate] = MappingProxyType({}),
    ) -> None:
        self._own = own
        self._fleet = fleet
        self._clock = clock
        self._process = TemplateProcess()
        self._newest = Documents(
            store, mirror, clock, prefix=keys.TEMPLATES, kind=Template, noun="template"
        )
        self._versions = Documents(
            store,
            mirror,
            clock,
            prefix=keys.control(VERSIONS),
            kind=Template,
            noun="template version",
        )

    def all(self) -> list[Held[Template]]:
        """Every template in its newest version, by name."""
        return list(self._newest.all())

    async def read(self, name: str) -> Held[Template]:
        """The newest version; the package's own text is version 0, at revision 0.

        Raises:
            NotFound: there is no such template.
        """
        try:
            return await self._newest.read(name)
        except NotFound:
            if (own := self._own.get(name)) is None:
                raise
        return Held(name, _package_version(own), 0)

    def versions(self, name: str) -> list[Template]:
        """Every version that was stored under this name, the newest first."""
        prefix = f"{name}/"
        found = [h.document for h in self._versions.all() if h.name.startswith(prefix)]
        return sorted(found, key=lambda template: template.version, reverse=True)

    async def version(self, name: str, number: int) -> Template:
        """One version.

        Raises:
            NotFound: there is none of this number.
        """
        return (await self._versions.read(version_name(name, number))).document

    async def put(
        self, name: str, new: NewTemplate, *, by: Actor, at_revision: int | None = None
    ) -> Held[Template]:
        """Store a new version; the same text again makes none.

        Args:
            name: the template's.
            new: what it shall be.
            by: who changes it.
            at_revision: the only revision that may be replaced, 0: there is none; None: any.

        Raises:
            InvalidInput: the name is wrong, or the text is no template.
            CasConflict: it is not at `at_revision`.
        """
        check_template(name, new)
        if found := await self.problems(new.content, name):
            raise InvalidInput(*found)
        for _ in range(ATTEMPTS):
            held = await self._held(name)
            revision = held.revision if held else 0
            if at_revision not in (None, revision):
                raise CasConflict(f"it is at revision {revision}, not at {at_revision}")
            try:
                return await self._store_next(name, new, held, by)
            except CasConflict:
                continue
        raise CasConflict(f"the template {name} is being changed by others; try again")

    async def delete(self, name: str, *, by: Actor, at_revision: int | None = None) -> None:
        """Delete a template; its versions stay readable, and a later one counts on from them.

        Raises:
            NotFound: there is none.
            CasConflict: it is not at `at_revision`.
        """
        await self._newest.delete(name, by=by, at_revision=at_revision)

    async def preview(
        self, content: str, task: Task, tenant: str | None, name: str | None = None
    ) -> str:
        """What a template makes for the machine of a task.

        Args:
            name: under which it is, or shall be, stored: one of the package's has its variables.
            content: the template.
            task: the task.
            tenant: of who asks; of a machine that is another's by now nothing is known.

        Raises:
            InvalidInput: it cannot be rendered for this task; the line and the reason are named.
            TooBusy: others try templates at this moment.
        """
        if own := self._own.get(name or ""):
            return await self._process.render(content, own.variables(task))
        machine = self._fleet.machine(task.idc, task.sn)
        hidden = ("intent", "logs", "progress", "status_history")
        variables = {
            "task": rendering.plain(task, *hidden),
            "machine": rendering.plain(machine) if machine and sees(tenant, machine.tenant) else {},
        }
        return await self._process.render(content, variables)

    async def problems(self, content: str, name: str | None = None) -> list[FieldProblem]:
        """What is wrong with a text as a template, each with its line.

        With the `name` of one of the package's it must also render for every sample, and what it
        makes must be an answer file.

        Raises:
            TooBusy: others try templates at this moment.
        """
        own = self._own.get(name or "")
        if own is None:
            return rendering.problems(content)
        samples = own.samples()
        if found := rendering.problems(content, samples[0]):
            return found
        try:
            await self._process.check(content, samples, own.check)
        except InvalidInput as error:
            return list(error.problems)
        return []

    async def _held(self, name: str) -> Held[Template] | None:
        try:
            return await self._newest.read(name)
        except NotFound:
            return None

    async def _store_next(
        self, name: str, new: NewTemplate, held: Held[Template] | None, by: Actor
    ) -> Held[Template]:
        before = held.document if held else None
        if (
            held
            and before
            and (before.content, before.description) == (new.content, new.description)
        ):
            return held
        newest = (
            before.version if before else max((v.version for v in self.versions(name)), default=0)
        )
        template = Template(
            version=newest + 1,
            content=new.content,
            description=new.description,
            updated_by=by.name,
            updated_at=self._clock(),
        )
        key = keys.control(VERSIONS, version_name(name, template.version))
        also = [Put(key, records.encode(template))]
        if held is None:
            return await self._newest.create(name, template, by=by, also=also)
        return await self._newest.change(
            name, lambda _: template, by=by, at_revision=held.revision, also=also
        )


def _package_version(own: PackageTemplate) -> Template:
    """The package's own text, as it was when this system was new."""
    return Template(
        version=0,
        content=own.content,
        description=own.description,
        updated_by=PACKAGE,
        updated_at=datetime.fromtimestamp(0, UTC),
    )


def version_name(name: str, number: int) -> str:
    """The name under which a version of a template is kept."""
    return f"{name}/{number:06d}"
