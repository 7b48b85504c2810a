"""What a module of this package offers for one family of installers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import Encode
from lpmos.model.installer import Family


class Values(NamedTuple):
    """What a template sees: `plain` values, which are encoded, and `ready` text of the family."""

    plain: dict[str, Any]
    ready: dict[str, Any]


class Answers(NamedTuple):
    """One family: its template's name and file, and how a text stands in it.

    `releases` are those that the conformance test makes answers for, by OS type. With `whole_disk`
    it makes the partitions of one disk itself, and no plan says them.
    """

    family: Family
    template: str
    file: str
    encode: Encode
    values: Callable[[Order], Values]
    releases: tuple[tuple[str, str], ...]
    whole_disk: bool = False
