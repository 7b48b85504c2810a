"""The trace that the kernel line names: what each call says of it by the header `traceparent`.

The rule: the id of a stage's span follows from the id of the task's span and the stage's name
alone, as the control plane makes it (`lpmos.model.trace`), so both name the same span. What the
kernel line has in another form is as good as nothing: an install does not fail for it.
"""

import hashlib
import re
from typing import NamedTuple

HEADER = "traceparent"
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


class Trace(NamedTuple):
    """The span of the task: its trace and its own id, in hex."""

    trace_id: str
    span_id: str

    def header(self, span: str) -> str:
        """What a call says that is made in the span of this name."""
        child = hashlib.sha256(f"{self.span_id}/{span}".encode()).hexdigest()[:16]
        return f"00-{self.trace_id}-{child if int(child, 16) else '1'.zfill(16)}-01"


def read_trace(text: str | None) -> Trace | None:
    """The trace of a kernel argument (W3C Trace Context, version 00); None where it is none."""
    found = _FORM.fullmatch(text or "")
    return Trace(found[1], found[2]) if found else None
