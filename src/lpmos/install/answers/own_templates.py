"""The package's templates of answer files, as the control plane shows and tries them (I8)."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from lpmos.install import answers
from lpmos.install.answers import samples
from lpmos.install.answers.family import Answers
from lpmos.model.task import Task

SAMPLES = 6
"""How many sample tasks a template is tried with: it is stored while its author waits."""


class AnswerTemplate:
    """One family's template; see `lpmos.core.templates.PackageTemplate`."""

    def __init__(self, of: Answers) -> None:
        self._of = of

    @property
    def content(self) -> str:
        """Its text."""
        return answers.default_template(self._of.family)

    @property
    def description(self) -> str:
        """What it is for."""
        return f"the package's own answer file for installers of the family {self._of.family}"

    @property
    def check(self) -> str:
        """The function that looks at an answer file of this family."""
        return f"lpmos.install.answers.checks:{self._of.family}_problems"

    def samples(self) -> Sequence[Mapping[str, Any]]:
        """The variables of sample tasks, spread over releases and layouts."""
        return self._samples

    def variables(self, task: Task) -> Mapping[str, Any]:
        """Those of a task, with the addresses of no region and nothing secret.

        Raises:
            InvalidInput: the task has no disk plan yet, or the installer cannot make it.
        """
        manifest = samples.manifest_of(self._of, task.os_type, task.os_version)
        return answers.variables(task, manifest, samples.URLS, samples.sealed(task))

    @cached_property
    def _samples(self) -> Sequence[Mapping[str, Any]]:
        every = list(samples.tried(self._of))
        step = max(1, len(every) // SAMPLES)
        return [
            answers.variables(task, manifest, samples.URLS, samples.sealed(task))
            for task, manifest in (*every[::step], every[-1])
        ]


OWN_TEMPLATES: Mapping[str, AnswerTemplate] = MappingProxyType(
    {each.template: AnswerTemplate(each) for each in answers.FAMILIES.values()}
)
