"""`lpmos region serve-alone`: who is said to be off is named, known, and meant."""

from pathlib import Path

import pytest

from lpmos.cli.failures import Exit
from lpmos.cli.main import main
from lpmos.region.remembered import Kept, Remembered

PAIR = Kept(others={"b": "http://192.0.2.2:8081"}, revision=7)


def run(state_dir: Path, *words: str) -> int:
    return main(["region", "serve-alone", "--state-dir", str(state_dir), *words])


def test_the_other_that_is_off_is_written_down(tmp_path: Path) -> None:
    Remembered(tmp_path).keep(PAIR)
    assert run(tmp_path, "--off", "b", "--yes") == Exit.OK
    word = Remembered(tmp_path).serve_alone()
    assert word is not None
    assert word.off == ("b",)
    assert run(tmp_path, "--undo") == Exit.OK
    assert Remembered(tmp_path).serve_alone() is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--yes",), "name each client that is off with --off; the others here are: b"),
        (("--off", "c", "--yes"), "--off c: unknown; the others here are: b"),
        (("--off", "b"), "add --yes to mean it"),
    ],
)
def test_what_is_not_clear_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    Remembered(tmp_path).keep(PAIR)
    assert run(tmp_path, *words) == Exit.USAGE
    assert said in capsys.readouterr().err
    assert Remembered(tmp_path).serve_alone() is None


def test_client_that_knows_no_other_needs_no_such_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--off", "b", "--yes") == Exit.USAGE
    assert "knows of no other" in capsys.readouterr().err
