"""One build at a time: a second one waits, says so, and gives up in the end."""

import threading
from pathlib import Path

import pytest

from lpmos.images.build_lock import building_in
from lpmos.images.progress import silent
from lpmos.model.errors import ImageError

WAIT_S = 20.0


def test_building_in_waits_for_the_other_build_and_says_so(tmp_path: Path) -> None:
    waiting, done = threading.Event(), threading.Event()

    def second_build() -> None:
        with building_in(tmp_path, lambda *_: waiting.set(), WAIT_S):
            done.set()

    with building_in(tmp_path, silent):
        thread = threading.Thread(target=second_build)
        thread.start()
        assert waiting.wait(WAIT_S)
        assert not done.is_set()
    assert done.wait(WAIT_S)
    thread.join(WAIT_S)


def test_building_in_a_directory_that_stays_in_use_gives_up(tmp_path: Path) -> None:
    with (
        building_in(tmp_path, silent),
        pytest.raises(ImageError, match="another build has held"),
        building_in(tmp_path, silent, timeout_s=0.0),
    ):
        pass
