"""Every page, dark and light: axe finds nothing serious, and a phone need not scroll sideways."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.conftest import inaccessible
from tests.support.control_plane import RunningControlPlane, running_with_debian
from tests.support.dashboard import PLACES, details, opened
from tests.support.populated import populate

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def populated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningControlPlane]:
    """A control plane with something of everything."""
    async with running_with_debian(tmp_path_factory.mktemp("state")) as running:
        await populate(running)
        yield running


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_page_has_nothing_that_keeps_people_out(
    browser: Browser, populated: RunningControlPlane, colours: str
) -> None:
    context = await browser.new_context(color_scheme=colours)  # type: ignore[arg-type]
    page = await context.new_page()
    found = {}
    for place, heading in (PLACES | details(populated)).items():
        await opened(page, populated, place)
        await expect(page.locator("main h1")).to_contain_text(heading)
        found[place] = await inaccessible(page)
    await context.close()
    assert {place: wrong for place, wrong in found.items() if wrong} == {}


async def test_page_needs_no_scrolling_sideways_on_a_phone(
    browser: Browser, populated: RunningControlPlane
) -> None:
    context = await browser.new_context(viewport={"width": 390, "height": 844})
    page = await context.new_page()
    widths = {}
    for place in (*PLACES, *details(populated)):
        await opened(page, populated, place)
        widths[place] = await page.evaluate("document.documentElement.scrollWidth")
    await context.close()
    assert {place: width for place, width in widths.items() if width > 390} == {}


async def test_colours_that_the_reader_chose_stay(
    browser: Browser, populated: RunningControlPlane
) -> None:
    context = await browser.new_context(color_scheme="light")
    page = await context.new_page()
    await opened(page, populated, "/regions")
    light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.get_by_label("Colours").select_option("Dark")
    await page.reload()
    await expect(page.get_by_label("Colours")).to_have_value("dark")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    await context.close()
