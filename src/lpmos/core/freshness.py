"""Whether memory has keys as the store has them: many who ask are answered by one question.

A control plane's memory is behind the store by the time that a change takes to reach it. Who must
not be shown less than what any control plane has answered before (F7) asks here first. An answer is
never older than its question: a round takes in nobody once it is sent. Where the one who asks for a
round is cancelled, or is not told what came of it, the others of that round ask again.
"""

import asyncio

from lpmos.store.api import MAX_TXN_OPERATIONS, Compare, Get, Store, Unavailable

ANSWER_TIMEOUT_S = 1.0
"""How long a round waits for its turn and for the store."""


class _Round:
    """What is asked in one transaction: of each key whether it is at a revision."""

    def __init__(self) -> None:
        self.wanted: set[tuple[str, int]] = set()
        self.over = asyncio.Event()
        self.answer: bool | None = None
        """Whether all of it holds; None where that was not said."""
        self.away = False
        """Whether the store is away, or slow: no use to ask again at once."""


class Freshness:
    """Compares revisions with the store's, one round at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._next = _Round()

    async def holds(self, key: str, revision: int) -> bool:
        """Whether the store had `key` at `revision` at some moment since this was called.

        False may also be for another key of the same round: then look for yourself.

        Raises:
            Unavailable: the store is away, or slow.
        """
        while True:
            mine = self._next
            leads = not mine.wanted
            mine.wanted.add((key, revision))
            if len(mine.wanted) >= MAX_TXN_OPERATIONS:
                self._close(mine)
            if leads:
                await self._ask(mine)
            else:
                await mine.over.wait()
            if mine.answer is not None:
                return mine.answer
            if mine.away:
                raise Unavailable("the store is away, or slow")

    async def _ask(self, mine: _Round) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S), self._turn:
                self._close(mine)
                compare = [Compare(key, "mod", "=", at) for key, at in mine.wanted]
                # etcd takes a transaction that reads nothing for one that may be answered late.
                reads = [Get(compare[0].key)]
                mine.answer = (await self._store.txn(compare, (), reads)).succeeded
        except (TimeoutError, Unavailable):
            mine.away = True
        finally:
            self._close(mine)
            mine.over.set()

    def _close(self, mine: _Round) -> None:
        """Whoever comes from now on is in another round."""
        if self._next is mine:
            self._next = _Round()
