"""What callers get, as examples: one of each answer, made by the code that makes the real ones.

They go on with the story of `requests`; `story` has what it is about.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from lpmos.control.openapi.answers_of_installing import INSTALLING
from lpmos.control.openapi.answers_of_operating import OPERATING

ANSWERS: Mapping[type, Any] = MappingProxyType(
    {type(each): msgspec.to_builtins(each) for each in (*INSTALLING, *OPERATING)}
)
"""By the answer's type."""
