"""Which documents of a collection belong to whom, so that a user's few are found among many."""

from typing import Generic, Protocol, TypeVar

from lpmos.core.documents import Document, Documents, Held


class OwnedDocument(Document, Protocol):
    """A document that belongs to a user."""

    @property
    def user(self) -> str:
        """The user's name."""
        ...


T = TypeVar("T", bound=OwnedDocument)


class Owned(Generic[T]):
    """The index; it follows the collection."""

    def __init__(self, documents: Documents[T]) -> None:
        self._documents = documents
        self._owners: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}
        documents.subscribe(self._note)

    def of(self, user: str) -> list[Held[T]]:
        """The user's documents, by name."""
        held = [self._documents.get(name) for name in sorted(self._names.get(user, ()))]
        return [each for each in held if each is not None]

    def _note(self, name: str, after: Held[T] | None) -> None:
        if (owner := self._owners.pop(name, None)) is not None:
            names = self._names[owner]
            names.discard(name)
            if not names:
                del self._names[owner]
        if after is not None:
            self._owners[name] = after.document.user
            self._names.setdefault(after.document.user, set()).add(name)
