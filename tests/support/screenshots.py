"""`python -m tests.support.screenshots FOLDER`: every page of the dashboard as a picture.

Desktop and phone, light and dark, over a control plane with something of everything.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import async_playwright

from tests.support.control_plane import running_with_debian
from tests.support.dashboard import PLACES, details, opened
from tests.support.populated import populate

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
SIZES = {"desktop": (1360, 900), "phone": (390, 844)}
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")


async def take(folder: Path) -> None:
    """Write every picture into the folder."""
    with tempfile.TemporaryDirectory() as state:
        async with (
            running_with_debian(Path(state)) as control_plane,
            async_playwright() as playwright,
        ):
            await populate(control_plane)
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=ARGUMENTS
            )
            for size, (width, height) in SIZES.items():
                for colours in COLOURS:
                    context = await browser.new_context(
                        viewport={"width": width, "height": height}, color_scheme=colours
                    )
                    page = await context.new_page()
                    for place in (*PLACES, *details(control_plane)):
                        await opened(page, control_plane, place)
                        name = place.strip("/").replace("/", "-") or "tasks"
                        path = folder / f"{name}.{size}.{colours}.png"
                        await page.screenshot(path=path, full_page=place != "/")
                        print(path)
                    await context.close()
            await browser.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(folder))
