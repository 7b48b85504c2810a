"""The writer's rules on a database in memory: undoing, leases, and what compaction frees."""

import sqlite3

import pytest

from lpmos.store.api import Compacted, Delete, LeaseNotFound, Operation, Put
from lpmos.store.sqlite import ledger as ledger_module
from lpmos.store.sqlite import read
from lpmos.store.sqlite.ledger import Ledger
from lpmos.store.sqlite.requests import transaction
from lpmos.store.sqlite.schema import prepare, revision_of


@pytest.fixture
def connection() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    prepare(made)
    return made


@pytest.fixture
def ledger(connection: sqlite3.Connection) -> Ledger:
    return Ledger(connection)


def _do(ledger: Ledger, *operations: Operation) -> int:
    """One transaction, committed; its revision."""
    with ledger.transaction():
        return ledger.transact(transaction((), operations, ())).revision


def _sweep_all(ledger: Ledger) -> int:
    steps = 0
    while ledger.unswept:
        with ledger.transaction():
            ledger.sweep()
        steps += 1
    return steps


def _rows(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    rows = connection.execute("SELECT key, id FROM history ORDER BY id").fetchall()
    return [(key.decode(), revision_of(row)) for key, row in rows]


def test_transaction_that_raises_undoes_everything(
    ledger: Ledger, connection: sqlite3.Connection
) -> None:
    before = _do(ledger, Put("/a", b"1"))
    ledger.take_batches()

    def fail() -> None:
        with ledger.transaction():
            ledger.transact(transaction((), (Put("/a", b"2"), Put("/b", b"2")), ()))
            ledger.grant(60)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert ledger.committed_revision == before
    assert _do(ledger, Put("/c", b"")) == before + 1
    assert ledger.leases == {}
    assert [batch.revision for batch in ledger.take_batches()] == [before + 1]
    kv = read.live_key(connection, b"/a")
    assert kv is not None
    assert kv.value == b"1"
    assert read.live_key(connection, b"/b") is None


def test_ledger_opened_again_goes_on_where_it_was(
    ledger: Ledger, connection: sqlite3.Connection
) -> None:
    revision = _do(ledger, Put("/a", b"1"))
    with ledger.transaction():
        lease = ledger.grant(60)
        ledger.compact(revision)
    again = Ledger(connection)
    assert (again.revision, again.compact_revision) == (revision, revision)
    assert again.leases == {lease: 60}
    with pytest.raises(Compacted):
        again.compact(revision)


def test_lease_ids_are_never_used_again(ledger: Ledger) -> None:
    with ledger.transaction():
        first = ledger.grant(60)
        ledger.revoke(first)
        second = ledger.grant(60)
    assert second != first
    with pytest.raises(LeaseNotFound):
        ledger.revoke(first)


def test_lease_without_keys_revoked_makes_no_revision(ledger: Ledger) -> None:
    before = ledger.revision
    with ledger.transaction():
        assert ledger.revoke(ledger.grant(60)) == before
    assert ledger.take_batches() == []


def test_sweep_leaves_what_is_readable_from_the_compact_revision_on(
    ledger: Ledger, connection: sqlite3.Connection
) -> None:
    _do(ledger, Put("/changed", b"1"), Put("/same", b"1"), Put("/deleted", b"1"))
    _do(ledger, Put("/changed", b"2"))
    _do(ledger, Delete("/deleted"), Put("/gone", b""))
    compacted = _do(ledger, Put("/changed", b"3"), Delete("/gone"))
    _do(ledger, Put("/changed", b"4"))
    with ledger.transaction():
        ledger.compact(compacted)
    _sweep_all(ledger)
    assert _rows(connection) == [
        ("/same", 2),
        ("/changed", compacted),
        ("/gone", compacted),
        ("/changed", compacted + 1),
    ]
    with ledger.transaction():
        ledger.compact(compacted + 1)
    _sweep_all(ledger)
    assert _rows(connection) == [("/same", 2), ("/changed", compacted + 1)]


def test_sweep_of_much_history_is_done_in_steps(
    ledger: Ledger, connection: sqlite3.Connection
) -> None:
    rounds, keys = 30, 100
    for _ in range(rounds):
        revision = _do(ledger, *(Put(f"/{number:03}", b"") for number in range(keys)))
    with ledger.transaction():
        ledger.compact(revision)
    assert _sweep_all(ledger) >= rounds * keys // ledger_module.SWEEP_ROWS
    assert len(_rows(connection)) == keys


def test_sweep_interrupted_goes_on_after_opening_again(
    ledger: Ledger, connection: sqlite3.Connection
) -> None:
    for _ in range(30):
        revision = _do(ledger, *(Put(f"/{number:03}", b"") for number in range(100)))
    with ledger.transaction():
        ledger.compact(revision)
    with ledger.transaction():
        ledger.sweep()
    again = Ledger(connection)
    assert again.unswept
    _sweep_all(again)
    assert len(_rows(connection)) == 100
