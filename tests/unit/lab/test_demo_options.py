"""The wishes that the demo takes from its environment."""

from pathlib import Path

import pytest

from lpmos.lab.demo import options_from
from lpmos.lab.errors import LabError


def test_options_of_an_empty_environment_approve_and_stay() -> None:
    options = options_from({})
    assert (options.approve, options.stay, options.port) == (True, True, 8080)
    assert options.images_dir == Path("build/images").absolute()


def test_options_of_a_full_environment_are_what_it_says() -> None:
    options = options_from(
        {
            "APPROVE": "manual",
            "DEMO_EXIT": "1",
            "LPMOS_DEMO_PORT": "9090",
            "LPMOS_IMAGES_DIR": "/images",
            "LPMOS_CACHE_DIR": "/cache",
        }
    )
    assert (options.approve, options.stay, options.port) == (False, False, 9090)
    assert (options.images_dir, options.cache_dir) == (Path("/images"), Path("/cache"))


@pytest.mark.parametrize(
    "environment", [{"APPROVE": "no"}, {"LPMOS_DEMO_PORT": "http"}, {"LPMOS_DEMO_PORT": "70000"}]
)
def test_options_that_mean_nothing_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(LabError, match=next(iter(environment))):
        options_from(environment)
