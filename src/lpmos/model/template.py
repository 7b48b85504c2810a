"""Templates of what is written for a machine, as they are kept: versioned text with a name."""

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput

CONTENT_BYTES = 49_152
"""What a template may have; its document has a limit (S13)."""

NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,63}$"
_NAME = re.compile(NAME_PATTERN)

Content = Annotated[
    str, msgspec.Meta(max_length=CONTENT_BYTES, extra_json_schema={"format": "jinja"})
]
"""A text in the language of Jinja."""


class NewTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PUT /templates/{name}` takes."""

    content: Content
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a template; `version` counts from 1."""

    version: int
    content: str
    description: str
    updated_by: str
    updated_at: datetime

    @property
    def tenant(self) -> str | None:
        """Templates are the provider's."""
        return None

    def audited(self) -> dict[str, Any]:
        """What the audit log has of it; the text is kept as a version of its own."""
        return {"version": self.version, "description": self.description}


def check_template(name: str, new: NewTemplate) -> None:
    """Refuse a name that cannot be a key's part, and a text that is too long.

    Raises:
        InvalidInput: names each wrong field.
    """
    problems = []
    if not _NAME.fullmatch(name):
        text = f"{name[:80]!r} is not a template's name (a-z, 0-9, '.', '_', '-'; ≤64)"
        problems.append(FieldProblem("name", text))
    if len(new.content.encode()) > CONTENT_BYTES:
        problems.append(FieldProblem("content", f"has over {CONTENT_BYTES} bytes"))
    if problems:
        raise InvalidInput(*problems)
