"""Proofs of control planes for logs at a region: good for one log, for minutes, with one key."""

from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.logproof import LogProofs, LogReaders
from lpmos.model.errors import Unauthenticated
from lpmos.store import keys, records
from lpmos.store.api import KV, Unavailable
from tests.support.builders import NOW

TASK, OTHER = "0b0b6f5e-0000-4000-8000-000000000001", "0b0b6f5e-0000-4000-8000-000000000002"
SEED = bytes(range(32))
PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
PROOFS = LogProofs(SEED, lambda: NOW)


def readers(
    value: bytes | None, *, late: timedelta = timedelta(), listed: bool = True
) -> LogReaders:
    """Those of dc1, which has this in its store."""

    def stored(key: str) -> KV | None:
        assert key == keys.log_reader("dc1")
        return KV(key, value, 1, 1, 1) if value is not None else None

    return LogReaders(stored, lambda: NOW + late, idc="dc1", listed=lambda: listed)


KNOWN = records.encode(PROOFS.reader)


@pytest.mark.parametrize("late_s", [-290, 0, 290])
def test_proof_is_taken_where_the_clocks_nearly_agree(late_s: int) -> None:
    shown = f"Bearer {PROOFS.proof('dc1', TASK)}"
    readers(KNOWN, late=timedelta(seconds=late_s)).check(TASK, shown)


@pytest.mark.parametrize("late", [timedelta(minutes=11), timedelta(hours=-1)])
def test_proof_of_another_time_is_refused(late: timedelta) -> None:
    with pytest.raises(Unauthenticated, match="clocks"):
        readers(KNOWN, late=late).check(TASK, f"Bearer {PROOFS.proof('dc1', TASK)}")


def test_region_without_a_key_answers_as_older_control_planes_ask() -> None:
    readers(None).check(TASK, None)
    readers(None).check(TASK, f"Bearer {PROOFS.proof('dc1', TASK)}")


@pytest.mark.parametrize("shown", [None, f"Bearer {PROOFS.proof('dc1', TASK)}"])
def test_region_that_does_not_know_whether_there_is_a_key_gives_nothing(shown: str | None) -> None:
    with pytest.raises(Unavailable):
        readers(None, listed=False).check(TASK, shown)


def test_key_that_is_known_from_before_counts_before_the_store_is_heard() -> None:
    readers(KNOWN, listed=False).check(TASK, f"Bearer {PROOFS.proof('dc1', TASK)}")
    with pytest.raises(Unauthenticated):
        readers(KNOWN, listed=False).check(TASK, None)


def _claims(**changed: object) -> dict[str, object]:
    return {"sub": TASK, "aud": "lpmos log dc1", "exp": int(NOW.timestamp()), **changed}


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Basic eDp5",
        f"Bearer {PROOFS.proof('dc1', OTHER)}",
        f"Bearer {PROOFS.proof('dc2', TASK)}",
        f"Bearer {LogProofs(bytes(32), lambda: NOW).proof('dc1', TASK)}",
        f"Bearer {jwt.encode(_claims(), '', 'none')}",
        f"Bearer {jwt.encode(_claims(), PROOFS.reader.public, 'HS256')}",
        f"Bearer {jwt.encode(_claims(exp='x'), PRIVATE, 'EdDSA')}",
    ],
)
def test_whoever_shows_no_proof_for_this_log_is_refused(shown: str | None) -> None:
    with pytest.raises(Unauthenticated):
        readers(KNOWN).check(TASK, shown)


@given(st.text(max_size=300))
def test_what_is_no_proof_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(Unauthenticated):
        readers(KNOWN).check(TASK, f"Bearer {text}")


@pytest.mark.parametrize("value", [b"", b"{}", b'{"public":"zz"}', b'{"public":"00"}'])
def test_damaged_key_lets_nobody_in(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        readers(value).check(TASK, f"Bearer {PROOFS.proof('dc1', TASK)}")
