"""The store's rules in the simplest form, to compare a backend with.

The model keeps every past state whole. Its revisions count from the one that the backend had at
the start, so that a shared backend fits too.
"""

from collections.abc import Sequence

from lpmos.store.api import KV, Compare, Delete, Get, Operation, Put

Event = tuple[str, str, bytes, int]


class StoreModel:
    """What a store with these writes must hold."""

    def __init__(self, revision: int) -> None:
        self.revision = self.first = revision
        self.states: dict[int, dict[str, KV]] = {revision: {}}
        self.events: list[Event] = []

    @property
    def now(self) -> dict[str, KV]:
        """The present keys."""
        return self.states[self.revision]

    def holds(self, compare: Compare) -> bool:
        """Whether a condition is true now."""
        kv = self.now.get(compare.key)
        if compare.target == "value" and kv is None:
            return False
        actual: int | bytes = 0
        if kv is not None:
            match compare.target:
                case "mod":
                    actual = kv.mod_revision
                case "create":
                    actual = kv.create_revision
                case "version":
                    actual = kv.version
                case "value":
                    actual = kv.value
        match compare.operator:
            case "=":
                return actual == compare.operand
            case "!=":
                return actual != compare.operand
            case "<":
                return actual < compare.operand  # type: ignore[operator]
            case ">":
                return actual > compare.operand  # type: ignore[operator]

    def apply(self, operations: Sequence[Operation]) -> tuple[int | tuple[KV, ...] | None, ...]:
        """Do operations as one revision; the result of each."""
        revision = self.revision + 1
        state, events = dict(self.now), list[Event]()
        results: list[int | tuple[KV, ...] | None] = []
        for operation in operations:
            match operation:
                case Put(key, value):
                    old = state.get(key)
                    created, version = (
                        (old.create_revision, old.version + 1) if old else (revision, 1)
                    )
                    state[key] = KV(key, value, created, revision, version)
                    events.append(("put", key, value, revision))
                    results.append(None)
                case Delete(key, prefix):
                    gone = [one.key for one in _found(state, key, prefix=prefix)]
                    for one in gone:
                        del state[one]
                        events.append(("delete", one, b"", revision))
                    results.append(len(gone))
                case Get(key, prefix):
                    results.append(tuple(_found(state, key, prefix=prefix)))
        if events:
            self.revision = revision
            self.states[revision] = state
            self.events += events
        return tuple(results)

    def range(self, prefix: str, revision: int) -> tuple[KV, ...]:
        """The keys under a prefix at a revision."""
        return tuple(_found(self.states[revision], prefix, prefix=True))


def _found(state: dict[str, KV], key: str, *, prefix: bool) -> list[KV]:
    names = [name for name in state if (name.startswith(key) if prefix else name == key)]
    return [state[name] for name in sorted(names, key=str.encode)]
