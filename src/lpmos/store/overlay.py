"""A mirror with some keys shown as a region has changed them while the store was away.

A local version stands until the store is known to have it (`settle`), or until the store's own
gives no room for it (`gives_way`: what people ended counts at once). Who listens hears of one
sequence of versions, whichever they come from.
"""

from collections.abc import Callable

from lpmos.store.api import KV
from lpmos.store.mirror import Mirror, Subscriber

GivesWay = Callable[[KV, KV | None], bool]
"""Whether a local version ends where the store has this one, or none."""


class Overlay:
    """What `mirror` has, with local versions of single keys in front."""

    def __init__(self, mirror: Mirror, gives_way: GivesWay) -> None:
        self._mirror = mirror
        self._gives_way = gives_way
        self._local: dict[str, KV] = {}
        self._until: dict[str, int] = {}
        self._subscribers: list[Subscriber] = []
        mirror.subscribe(self._apply)

    @property
    def connected(self) -> bool:
        """See `Mirror.connected`."""
        return self._mirror.connected

    @property
    def revision(self) -> int:
        """See `Mirror.revision`."""
        return self._mirror.revision

    def subscribe(self, subscriber: Subscriber) -> None:
        """See `Mirror.subscribe`."""
        self._subscribers.append(subscriber)

    async def wait_for(self, revision: int) -> None:
        """See `Mirror.wait_for`."""
        await self._mirror.wait_for(revision)

    def get(self, key: str) -> KV | None:
        """The key as it is shown."""
        return self._local.get(key) or self._mirror.get(key)

    def stored(self, key: str) -> KV | None:
        """The key as the store had it when it was last heard of."""
        return self._mirror.get(key)

    def show(self, key: str, value: bytes) -> None:
        """Show this value in place of the store's."""
        before = self.get(key)
        known = before or KV(key, b"", 0, 0, 0)
        after = KV(key, value, known.create_revision, known.mod_revision, known.version + 1)
        self._local[key] = after
        self._until.pop(key, None)
        self._tell(key, before, after)

    def settle(self, key: str, revision: int) -> None:
        """Show the store's version again as soon as the one of `revision` is known."""
        if key in self._local:
            self._until[key] = revision
            if self._mirror.revision >= revision:
                self._end(key, self._mirror.get(key))

    def _apply(self, key: str, before: KV | None, after: KV | None) -> None:
        local = self._local.get(key)
        if local is None:
            self._tell(key, before, after)
        elif self._is_settled(key, after) or self._gives_way(local, after):
            self._end(key, after)

    def _is_settled(self, key: str, after: KV | None) -> bool:
        until = self._until.get(key)
        return until is not None and (after is None or after.mod_revision >= until)

    def _end(self, key: str, after: KV | None) -> None:
        before = self._local.pop(key)
        self._until.pop(key, None)
        self._tell(key, before, after)

    def _tell(self, key: str, before: KV | None, after: KV | None) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(key, before, after)
