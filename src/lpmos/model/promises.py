"""Promises between the clients of one region, for the time without the store: the protocol, pure.

A client that holds an unexpired promise of every other client may serve. A promise says: for
`PROMISE_S` from when you asked, I do not serve. Whoever gave one keeps it `GRACE_S` longer than the
asker counts on it, by its own clock; so the two never meet, however long the words took. Times are
of one client's monotonic clock, in seconds, and are never sent.

Each ask carries the challenge of the last answer, which is good for one promise, and each answer
the ask's nonce: a word that is repeated by somebody on the wire, or comes late, does nothing.
"""

from collections.abc import Collection
from enum import StrEnum

import msgspec

PROMISE_S = 8.0
GRACE_S = 1.0
"""Covers clocks that run at different speeds, and the moment in which a guard works."""
HANDOVER_S = 15.0
"""A client that sees the store again lets the one that serves by promise be elected so long."""
PATIENCE_S = 20.0
"""Who goes first, and gets nowhere although the other reaches it, lets that one try."""
LAPSE_S = 5.0
"""Patience begins anew with one that did not ask for so long."""


class Refusal(StrEnum):
    """Why a client gives no promise."""

    SERVES = "it serves machines itself"
    LEADS = "it is elected"
    SEES_STORE = "it sees the store"
    GOES_FIRST = "it was active later, and is about to begin itself"
    KNOWS_MORE = "it knows of another client of the region"
    CHALLENGE = "the challenge is not the last one"


class Ask(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Asked of each other client.

    `serving`: the asker answers machines now. `term` orders who was active last. `members` are all
    clients that it knows of, itself too, as of the store's `revision`.
    """

    asker: str
    to: str
    nonce: str
    challenge: str
    term: int
    serving: bool
    members: tuple[str, ...]
    revision: int


class Answer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """To one ask; a promise where `refusal` is None. `challenge` is for the next ask."""

    by: str
    to: str
    nonce: str
    refusal: Refusal | None
    challenge: str


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is as it asks or is asked.

    `leads`: its leadership has not ended for certain. `sees_store_since`: None where the store does
    not answer. `claims`: it does not serve, and asks to.
    """

    serving: bool = False
    leads: bool = False
    sees_store_since: float | None = None
    claims: bool = False
    term: int = 0
    members: tuple[str, ...] = ()
    revision: int = 0


class Promises:
    """What one client has promised, and what it was promised."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._asked: dict[str, tuple[str, float]] = {}
        self._held: dict[str, float] = {}
        self._to_show: dict[str, str] = {}
        self._expected: dict[str, str] = {}
        self._given: dict[str, float] = {}
        self._put_off: dict[str, tuple[float, float]] = {}

    @property
    def promised_until(self) -> float:
        """Before this time it must not begin to serve."""
        return max(self._given.values(), default=float("-inf"))

    def bind(self, to: str, until: float) -> None:
        """Hold to a promise that was given before, as one does after a restart."""
        self._given[to] = max(until, self._given.get(to, until))

    def holds_until(self, others: Collection[str], off: Collection[str] = ()) -> float:
        """Until when it holds the promise of every one of `others` but those that are `off`.

        Minus infinity where one is missing, or nobody is there to promise.
        """
        if not others:
            return float("-inf")
        held = [self._held.get(each, float("-inf")) for each in others if each not in off]
        return min(held, default=float("inf"))

    def ask(self, to: str, here: Situation, now: float, nonce: str) -> Ask:
        """The ask of this moment; it takes the place of an earlier one."""
        self._asked[to] = nonce, now
        return Ask(
            asker=self._identity,
            to=to,
            nonce=nonce,
            challenge=self._to_show.get(to, ""),
            term=here.term,
            serving=here.serving,
            members=here.members,
            revision=here.revision,
        )

    def take(self, answer: Answer) -> None:
        """Note what an answer says; nothing where it is not to the last ask."""
        nonce, asked_at = self._asked.get(answer.by, ("", 0.0))
        if answer.to != self._identity or not nonce or answer.nonce != nonce:
            return
        del self._asked[answer.by]
        self._to_show[answer.by] = answer.challenge
        if answer.refusal is None:
            self._held[answer.by] = asked_at + PROMISE_S

    def answer(self, ask: Ask, here: Situation, now: float, challenge: str) -> Answer:
        """Give a promise or none; one that is given holds from this moment.

        Args:
            ask: to this client.
            here: what it is now.
            now: the time.
            challenge: a new random text.
        """
        expected = self._expected.get(ask.asker, "")
        if not expected or ask.challenge != expected:
            self._expected[ask.asker] = expected or challenge
            refused: Refusal | None = Refusal.CHALLENGE
        else:
            self._expected[ask.asker] = challenge
            refused = self._refusal(ask, here, now)
        if refused is None:
            self.bind(ask.asker, now + PROMISE_S + GRACE_S)
        return Answer(
            by=self._identity,
            to=ask.asker,
            nonce=ask.nonce,
            refusal=refused,
            challenge=self._expected[ask.asker],
        )

    def _refusal(self, ask: Ask, here: Situation, now: float) -> Refusal | None:
        renewed = now < self._given.get(ask.asker, float("-inf"))
        unknown = set(here.members) - set(ask.members)
        if here.serving:
            return Refusal.SERVES
        if here.leads:
            return Refusal.LEADS
        since = here.sees_store_since
        if since is not None and not (renewed and now - since < HANDOVER_S):
            return Refusal.SEES_STORE
        if unknown and here.revision >= ask.revision:
            return Refusal.KNOWS_MORE
        goes_first = (-here.term, self._identity) < (-ask.term, ask.asker)
        if here.claims and goes_first and not ask.serving and self._puts_off(ask.asker, now):
            return Refusal.GOES_FIRST
        return None

    def _puts_off(self, asker: str, now: float) -> bool:
        """Whether one that goes second has to wait still."""
        first, last = self._put_off.get(asker, (now, now))
        if now - last > LAPSE_S:
            first = now
        self._put_off[asker] = first, now
        return now - first <= PATIENCE_S
