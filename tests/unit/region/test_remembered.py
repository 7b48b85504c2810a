"""What a client keeps of the pair on its disk, and what it makes of what it finds there."""

from pathlib import Path

import pytest

from lpmos.model.promises import GRACE_S, PROMISE_S
from lpmos.region.remembered import Kept, Remembered, ServeAlone
from tests.support.builders import NOW

KEPT = Kept(others={"b": "http://192.0.2.2:8081"}, revision=7, term=3)


def test_kept_is_found_by_the_next(tmp_path: Path) -> None:
    Remembered(tmp_path).keep(KEPT)
    assert Remembered(tmp_path).kept == KEPT


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"alone": 7}', b"\xff"])
def test_kept_that_is_damaged_is_as_good_as_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "standing.json").write_bytes(text)
    assert Remembered(tmp_path).kept == Kept()


def test_kept_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "standing.json").write_bytes(b'{"alone":true}')
    assert Remembered(tmp_path).kept == Kept(alone=True)


def test_revision_alone_is_not_written(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path)
    remembered.keep(KEPT)
    before = (tmp_path / "standing.json").stat().st_mtime_ns
    newer = Kept(others=KEPT.others, revision=8, term=3)
    remembered.keep(newer)
    assert remembered.kept == newer
    assert (tmp_path / "standing.json").stat().st_mtime_ns == before


def test_promise_binds_the_next_start_until_it_is_over(tmp_path: Path) -> None:
    Remembered(tmp_path).promise("a", until=50.0)
    found = Remembered(tmp_path).promised(now=49.0)
    assert found is not None
    assert (found.to, found.until) == ("a", 50.0)
    assert Remembered(tmp_path).promised(now=50.0) is None


def test_promise_of_before_the_start_of_the_machine_binds_from_now(tmp_path: Path) -> None:
    (tmp_path / "promised.json").write_bytes(b'{"to":"a","boot_id":"another","until":9e9}')
    found = Remembered(tmp_path).promised(now=5.0)
    assert found is not None
    assert found.until == 5.0 + PROMISE_S + GRACE_S


def test_word_of_an_operator_stands_until_it_is_taken_back(tmp_path: Path) -> None:
    remembered, word = Remembered(tmp_path), ServeAlone("root", NOW, ("b",))
    remembered.say_serve_alone(word)
    assert Remembered(tmp_path).serve_alone() == word
    assert remembered.forget_serve_alone()
    assert not remembered.forget_serve_alone()
    assert remembered.serve_alone() is None
