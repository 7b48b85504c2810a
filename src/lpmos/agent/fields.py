"""Fields of a JSON document, taken only where they have the type that the plan says."""

from typing import TypeVar

from lpmos.agent.errors import InstallError

T = TypeVar("T")


def take(document: dict[str, object], name: str, kind: type[T]) -> T:
    """A field that must be there.

    Raises:
        InstallError: it is missing or of another type; true and false are no numbers.
    """
    value = document.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise not_understood(name, value)
    return value


def optional(document: dict[str, object], name: str, kind: type[T]) -> T | None:
    """A field that may be missing or null.

    Raises:
        InstallError: it is of another type.
    """
    return None if document.get(name) is None else take(document, name, kind)


def mapping(value: object, name: str) -> dict[str, object]:
    """A JSON object.

    Raises:
        InstallError: it is none.
    """
    if not isinstance(value, dict):
        raise not_understood(name, value)
    return value


def sequence(value: object, name: str) -> list[object]:
    """A JSON array.

    Raises:
        InstallError: it is none.
    """
    if not isinstance(value, list):
        raise not_understood(name, value)
    return value


def not_understood(field: str, value: object) -> InstallError:
    """The error for a field that this agent cannot follow."""
    return InstallError(
        f"the plan's {field} is not understood: {value!r:.200}",
        hint="The agent image and the region are of different versions: build the agent image"
        " again with `lpmos image build-agent`.",
    )
