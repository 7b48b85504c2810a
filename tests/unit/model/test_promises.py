"""Promises of a pair: each refusal, and never two that serve, whatever happens to words."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lpmos.model.promises import (
    GRACE_S,
    HANDOVER_S,
    PATIENCE_S,
    PROMISE_S,
    Answer,
    Ask,
    Promises,
    Refusal,
    Situation,
)
from lpmos.model.standing import View, ground

TTL_S = 8.0
MARGIN_S = 1.0
PAIR = ("a", "b")
BLIND = Situation(members=PAIR)
BOTH = (Ask, Answer)
CLOCKS_APART = 1.05 / 0.95
"""How far two clocks may differ in speed."""


def asked(
    asker: Promises,
    answerer: Promises,
    to: str = "b",
    *,
    now: float = 100.0,
    asking: Situation = BLIND,
    here: Situation = BLIND,
) -> Answer:
    """The answer to an ask with the right challenge."""
    for nonce in ("n1", "n2"):
        answer = answerer.answer(asker.ask(to, asking, now, nonce), here, now, f"c-{nonce}-{now}")
        asker.take(answer)
        if answer.refusal is not Refusal.CHALLENGE:
            break
    return answer


def test_promise_counts_from_the_ask_and_binds_longer_than_it_counts() -> None:
    a, b = Promises("a"), Promises("b")
    assert asked(a, b, now=100.0).refusal is None
    assert a.holds_until(["b"]) == 100.0 + PROMISE_S
    assert b.promised_until == 100.0 + PROMISE_S + GRACE_S
    assert PROMISE_S * CLOCKS_APART < PROMISE_S + GRACE_S


def test_promises_of_all_others_are_needed() -> None:
    a, b = Promises("a"), Promises("b")
    assert a.holds_until([]) == float("-inf")
    asked(a, b)
    assert a.holds_until(["b", "c"]) == float("-inf")
    assert a.holds_until(["b", "c"], off=["c"]) == 100.0 + PROMISE_S
    assert a.holds_until(["b", "c"], off=["b", "c"]) == float("inf")


@pytest.mark.parametrize(
    ("here", "refusal"),
    [
        (Situation(serving=True), Refusal.SERVES),
        (Situation(leads=True), Refusal.LEADS),
        (Situation(sees_store_since=50.0), Refusal.SEES_STORE),
        (Situation(members=("a", "b", "c"), revision=7), Refusal.KNOWS_MORE),
        (Situation(members=("a", "b", "c"), revision=6), None),
        (Situation(claims=True, term=4), Refusal.GOES_FIRST),
        (Situation(claims=True, term=3), None),
        (Situation(term=4), None),
    ],
)
def test_promise_is_refused_as_the_table_says(here: Situation, refusal: Refusal | None) -> None:
    asking = Situation(members=PAIR, revision=7, term=3)
    b = Promises("b")
    assert asked(Promises("a"), b, asking=asking, here=here).refusal is refusal
    assert (b.promised_until > 0) is (refusal is None)


def test_of_two_that_were_never_active_the_lower_identity_goes_first() -> None:
    claims = Situation(members=PAIR, claims=True)
    to_a = asked(Promises("b"), Promises("a"), "a", asking=claims, here=claims)
    to_b = asked(Promises("a"), Promises("b"), "b", asking=claims, here=claims)
    assert (to_a.refusal, to_b.refusal) == (Refusal.GOES_FIRST, None)


def test_who_goes_first_lets_the_other_try_after_a_while_in_which_it_was_asked() -> None:
    a, b = Promises("a"), Promises("b")
    claims = Situation(members=PAIR, claims=True)
    for second in range(0, int(PATIENCE_S) + 1, 2):
        late = asked(b, a, "a", now=100.0 + second, asking=claims, here=claims)
        assert late.refusal is Refusal.GOES_FIRST
    soon = asked(b, a, "a", now=101.0 + PATIENCE_S, asking=claims, here=claims)
    assert soon.refusal is None
    lapsed = asked(b, a, "a", now=200.0, asking=claims, here=claims)
    assert lapsed.refusal is Refusal.GOES_FIRST


def test_one_that_serves_is_never_refused_for_going_first() -> None:
    here = Situation(members=PAIR, claims=True, term=9)
    asking = Situation(members=PAIR, serving=True, term=1)
    assert asked(Promises("a"), Promises("b"), asking=asking, here=here).refusal is None


def test_promise_is_renewed_for_a_while_after_the_store_is_back() -> None:
    a, b = Promises("a"), Promises("b")
    asked(a, b, now=100.0)
    back = Situation(members=PAIR, sees_store_since=101.0)
    assert asked(a, b, now=104.0, here=back).refusal is None
    asked(a, b, now=111.0, here=back)
    late = asked(a, b, now=101.0 + HANDOVER_S, here=back)
    assert late.refusal is Refusal.SEES_STORE


def test_word_that_is_repeated_or_late_does_nothing() -> None:
    a, b = Promises("a"), Promises("b")
    asked(a, b, now=100.0)
    ask = a.ask("b", BLIND, 103.0, "x")
    answer = b.answer(ask, BLIND, 103.0, "c9")
    a.ask("b", BLIND, 104.0, "y")
    a.take(answer)  # to an earlier ask
    assert a.holds_until(["b"]) == 100.0 + PROMISE_S
    assert b.answer(ask, BLIND, 150.0, "c10").refusal is Refusal.CHALLENGE  # repeated by somebody
    assert b.promised_until == 103.0 + PROMISE_S + GRACE_S


class _Client:
    """One client: what the region's parts do, with this model's decisions."""

    def __init__(self, name: str, others: list[str], offset: float) -> None:
        self.name = name
        self.others = others
        self.offset = offset
        self.kept_promises: dict[str, float] = {}
        self.term = 0
        self.linked = True
        self.begin()

    def begin(self) -> None:
        """As a process that was just started: its own right to serve ended with the one before."""
        self.promises = Promises(self.name)
        for to, until in self.kept_promises.items():
            self.promises.bind(to, until)
        self.stopped = False
        self.until = self.deadline = float("-inf")
        self.sees_since: float | None = None
        self.claims = False


class Pair(RuleBasedStateMachine):
    """Clients that live as they do, with a store, on a network that loses, delays and repeats."""

    names: tuple[str, ...] = PAIR

    def __init__(self) -> None:
        super().__init__()
        self.t = 1000.0
        self.serial = itertools.count()
        self.clients = {
            name: _Client(name, [each for each in self.names if each != name], 77.0 * number)
            for number, name in enumerate(self.names)
        }
        self.leader, self.expires = "", 0.0
        self.passes: tuple[type, ...] = BOTH
        self.words: list[tuple[str, Ask | Answer]] = []
        self.past: list[tuple[str, Ask | Answer]] = []
        self.live(4)

    def now(self, client: _Client) -> float:
        return self.t + client.offset

    def serves(self, client: _Client) -> bool:
        return self.now(client) < client.until

    def situation(self, client: _Client) -> Situation:
        return Situation(
            serving=self.serves(client),
            leads=self.now(client) < client.deadline,
            sees_store_since=client.sees_since,
            claims=client.claims,
            term=client.term,
            members=self.names,
        )

    @rule(steps=st.integers(1, 24))
    def live(self, steps: int) -> None:
        """Half a second for each step; who cannot be told apart goes in turn."""
        for step in range(steps):
            for name in self.names[:: 1 if step % 2 else -1]:
                client = self.clients[name]
                if not client.stopped:
                    self.look(client)
                    self.stand(client)
                    self.turn(client)
                    self.ask_others(client)
                    self.at_most_one_serves()
            self.deliver()
            self.t += 0.5
            self.at_most_one_serves()

    def look(self, client: _Client) -> None:
        if not client.linked:
            client.sees_since = None
        elif client.sees_since is None:
            client.sees_since = self.now(client)

    def stand(self, client: _Client, *, has_stood: bool = False) -> None:
        """Be elected, or keep the leadership alive; who has promised does not stand any more."""
        free = self.t >= self.expires
        keeps = self.leader == client.name and self.now(client) < client.deadline
        promised = self.now(client) < client.promises.promised_until
        if client.linked and (keeps or (free and (has_stood or not promised))):
            self.leader, self.expires = client.name, self.t + TTL_S
            client.deadline = self.now(client) + TTL_S

    def turn(self, client: _Client) -> None:
        now, serving = self.now(client), self.serves(client)
        promised = now < client.promises.promised_until
        found = ground(
            View(
                leads=now < client.deadline - MARGIN_S,
                serving=serving,
                store_answers=client.sees_since is not None,
                holds=now < client.promises.holds_until(client.others) - MARGIN_S,
                promised=promised,
            )
        )
        if promised and now < client.deadline and client.linked:  # gives way
            self.expires, client.deadline = self.t, float("-inf")
        if found is None:
            client.until = float("-inf")
            return
        client.until = max(client.deadline, client.promises.holds_until(client.others))
        if not serving:
            client.term = int(self.t)

    def ask_others(self, client: _Client) -> None:
        now = self.now(client)
        away, leads = client.sees_since is None, now < client.deadline
        wants = away and (self.serves(client) or not leads)
        if not wants or now < client.promises.promised_until:
            client.claims = False
            return
        client.claims = not self.serves(client)
        for other in client.others:
            nonce = f"n{next(self.serial)}"
            ask = client.promises.ask(other, self.situation(client), now, nonce)
            self.words.append((other, ask))

    def deliver(self) -> None:
        for _ in range(2):
            words = [each for each in self.words if isinstance(each[1], self.passes)]
            self.words = [each for each in self.words if not isinstance(each[1], self.passes)]
            for to, word in words:
                self.arrives(to, word)

    def arrives(self, to: str, word: Ask | Answer) -> None:
        self.past = [*self.past[-20:], (to, word)]
        client = self.clients[to]
        if client.stopped:
            return
        if isinstance(word, Answer):
            client.promises.take(word)
            return
        here, now = self.situation(client), self.now(client)
        answer = client.promises.answer(word, here, now, f"c{next(self.serial)}")
        if answer.refusal is None:
            client.kept_promises[word.asker] = client.promises.promised_until
        self.words.append((word.asker, answer))

    @rule(passes=st.sampled_from((BOTH, (), (Ask,), (Answer,))))
    def network(self, passes: tuple[type, ...]) -> None:
        self.passes = passes

    @rule(index=st.integers(0, 50))
    def one_word_arrives(self, index: int) -> None:
        if self.words:
            self.arrives(*self.words.pop(index % len(self.words)))

    @rule(index=st.integers(0, 50))
    def one_word_is_repeated(self, index: int) -> None:
        if self.past:
            self.arrives(*self.past[index % len(self.past)])

    @rule()
    def words_are_lost(self) -> None:
        self.words.clear()

    @rule(number=st.integers(0, 2), stopped=st.booleans())
    def suspended_or_woken(self, number: int, stopped: bool) -> None:
        self.clients[self.names[number % len(self.names)]].stopped = stopped

    @rule(number=st.integers(0, 2))
    def restarted(self, number: int) -> None:
        self.clients[self.names[number % len(self.names)]].begin()

    @rule(linked=st.booleans())
    def store(self, linked: bool) -> None:
        for each in self.clients.values():
            each.linked = linked

    @rule(number=st.integers(0, 2), linked=st.booleans())
    def link_to_the_store(self, number: int, linked: bool) -> None:
        self.clients[self.names[number % len(self.names)]].linked = linked

    @rule(number=st.integers(0, 2))
    def one_that_stood_before_wins(self, number: int) -> None:
        client = self.clients[self.names[number % len(self.names)]]
        if not client.stopped:
            self.stand(client, has_stood=True)

    @rule()
    def all_is_well_and_soon_one_serves(self) -> None:
        """Whatever was before, it ends."""
        for each in self.clients.values():
            each.linked, each.stopped = True, False
        self.passes = BOTH
        self.live(100)
        assert sum(map(self.serves, self.clients.values())) == 1

    @rule()
    def without_the_store_one_soon_serves(self) -> None:
        for each in self.clients.values():
            each.linked, each.stopped = False, False
        self.passes = BOTH
        self.live(100)
        assert sum(map(self.serves, self.clients.values())) == 1

    @invariant()
    def at_most_one_serves(self) -> None:
        serving = [each.name for each in self.clients.values() if self.serves(each)]
        assert len(serving) <= 1, serving


class Three(Pair):
    """The same with three."""

    names = ("a", "b", "c")


MANY = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestPair = Pair.TestCase
TestPair.settings = MANY
TestThree = Three.TestCase
TestThree.settings = MANY
