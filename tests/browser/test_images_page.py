"""Images: brought in pieces that survive a lost connection, verified and deleted."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Page, Route, expect

from lpmos.model.access import Role
from lpmos.model.image import ImageManifest
from tests.browser.conftest import inaccessible, log_in
from tests.support.builders import make_manifest, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ZSTD = b"\x28\xb5\x2f\xfd"
ARCHIVE = ZSTD + bytes(range(256)) * 100
LARGE = ZSTD + bytes(range(256)) * 80_000
"""More than two pieces."""
PIECES_TIMEOUT_MS = 90_000
"""Pieces that go through the test on their way take seconds each."""


def _put(directory: Path, content: bytes = ARCHIVE, **fields: object) -> ImageManifest:
    """An image in the catalog, as `lpmos image build` leaves it."""
    name = str(fields.get("name", "debian-12"))
    manifest = make_manifest(
        sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), **fields
    )
    place = directory / "images" / name
    place.mkdir(parents=True)
    (place / manifest.file).write_bytes(content)
    (place / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return manifest


def _file(directory: Path, content: bytes, name: str = "debian-12.tar.zst") -> Path:
    """A file that the browser reads itself: what is given to it goes through its driver."""
    path = directory / name
    path.write_bytes(content)
    return path


async def _fill(page: Page, directory: Path, content: bytes) -> None:
    """Fill the form of an upload in by hand."""
    await page.get_by_role("button", name="Upload an image").click()
    await page.get_by_label("Archive").set_input_files(_file(directory, content))
    await page.get_by_label("System", exact=True).last.fill("debian")
    await page.get_by_label("Version").fill("12")
    await page.get_by_label("Size unpacked").fill("1 GiB")


async def _upload(page: Page) -> None:
    await page.get_by_role("dialog").get_by_role("button", name="Upload").click()


async def test_image_is_uploaded_in_pieces_and_verified(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    await dashboard.goto(f"{control_plane.url}/images")
    await expect(dashboard.get_by_text("There is no image yet")).to_be_visible()
    await _fill(dashboard, tmp_path, LARGE)
    await expect(dashboard.get_by_label("Name", exact=True)).to_have_value("debian-12")
    await _upload(dashboard)
    row = dashboard.get_by_role("row").filter(has_text="debian-12")
    await expect(row).to_contain_text("debian 12", timeout=PIECES_TIMEOUT_MS)
    digest = hashlib.sha256(LARGE).hexdigest()
    await expect(row.locator("code")).to_have_attribute("title", digest)
    await row.get_by_role("button", name="Verify").click()
    await expect(dashboard.get_by_text("debian-12 is whole")).to_be_visible()


async def test_manifest_fills_the_form_in(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    manifest = make_manifest(
        name="debian-13",
        os_version="13",
        sha256=hashlib.sha256(ARCHIVE).hexdigest(),
        size_bytes=len(ARCHIVE),
    )
    await dashboard.goto(f"{control_plane.url}/images")
    await dashboard.get_by_role("button", name="Upload an image").click()
    files = [
        _file(tmp_path, ARCHIVE),
        _file(tmp_path, msgspec.json.encode(manifest), "manifest.json"),
    ]
    await dashboard.get_by_label("Archive").set_input_files(files)
    await expect(dashboard.get_by_label("Name", exact=True)).to_have_value("debian-13")
    await _upload(dashboard)
    await expect(dashboard.get_by_role("row").filter(has_text="debian-13")).to_be_visible()


async def test_upload_goes_on_after_a_lost_connection(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    offsets: list[str] = []

    async def lose(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(route.request.headers["upload-offset"])
            if len(offsets) == 2:
                await route.fetch()
                await route.abort()
                return
        await route.continue_()

    await dashboard.route("**/api/v1/images/uploads/*", lose)
    await dashboard.goto(f"{control_plane.url}/images")
    await _fill(dashboard, tmp_path, LARGE)
    await _upload(dashboard)
    goes_on = dashboard.get_by_text("goes on from where it was")
    await expect(goes_on).to_be_visible(timeout=PIECES_TIMEOUT_MS)
    row = dashboard.get_by_role("row").filter(has_text="debian-12")
    await expect(row).to_be_visible(timeout=PIECES_TIMEOUT_MS)
    assert offsets == ["0", str(8 << 20), str(16 << 20)]


async def test_stopped_upload_is_gone_on_with(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    held: list[Route] = []
    offsets: list[str] = []

    async def hold(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(route.request.headers["upload-offset"])
            if len(offsets) == 2:
                held.append(route)
                return
        await route.continue_()

    await dashboard.route("**/api/v1/images/uploads/*", hold)
    await dashboard.goto(f"{control_plane.url}/images")
    await _fill(dashboard, tmp_path, LARGE)
    await _upload(dashboard)
    bar = dashboard.get_by_role("progressbar")
    await expect(bar).to_have_attribute("value", str(8 << 20), timeout=PIECES_TIMEOUT_MS)
    await expect(dashboard.get_by_text("8.0 MiB of 20 MiB")).to_be_visible()

    async def is_held() -> bool:
        return bool(held)

    await until(is_held)
    await dashboard.get_by_role("button", name="Stop for now").click()
    await expect(dashboard.get_by_role("alert")).to_contain_text("was stopped")
    await _upload(dashboard)
    row = dashboard.get_by_role("row").filter(has_text="debian-12")
    await expect(row).to_be_visible(timeout=PIECES_TIMEOUT_MS)
    assert offsets[2:] == [str(8 << 20), str(16 << 20)]


async def test_wrong_fields_and_a_wrong_file_are_named(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    await dashboard.goto(f"{control_plane.url}/images")
    await dashboard.get_by_role("button", name="Upload an image").click()
    await _upload(dashboard)
    await expect(dashboard.get_by_role("alert")).to_contain_text("Choose the archive")
    await dashboard.get_by_role("button", name="Back").click()
    await _fill(dashboard, tmp_path, b"no archive")
    planted = '<img src=x onerror="window.planted=1">'
    await dashboard.get_by_label("Name", exact=True).fill(planted)
    await _upload(dashboard)
    name = dashboard.get_by_label("Name", exact=True)
    await expect(name).to_have_attribute("aria-invalid", "true")
    await name.fill("debian-12")
    await dashboard.get_by_label("Family").fill("plan9")
    await _upload(dashboard)
    family = dashboard.get_by_role("dialog").locator(".field").filter(has_text="Family")
    await expect(family).to_contain_text("is unknown for tar.zst; known: debian")
    await dashboard.get_by_label("Family").fill("debian")
    await _upload(dashboard)
    await expect(dashboard.get_by_role("alert")).to_contain_text("no Zstandard archive")
    assert await dashboard.evaluate("window.planted") is None


async def test_image_is_deleted_unless_a_task_needs_it(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    _put(tmp_path)
    await control_plane.put_task(make_task())
    await dashboard.goto(f"{control_plane.url}/images")
    row = dashboard.get_by_role("row").filter(has_text="debian-12")
    await row.get_by_role("button", name="Delete").click()
    dialog = dashboard.get_by_role("dialog")
    await dialog.get_by_role("button", name="Delete").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("unfinished tasks need it")
    await dialog.get_by_role("button", name="Back").click()
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    task = make_task().task_id
    place = f"{control_plane.url}/api/v1/tasks/{task}"
    assert (await dashboard.request.delete(place, headers=headers)).ok
    await row.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(dashboard.get_by_text("There is no image yet")).to_be_visible()


async def test_damaged_image_is_told(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    manifest = _put(tmp_path)
    path = tmp_path / "images" / "debian-12" / manifest.file
    path.write_bytes(ARCHIVE[:-1] + b"x")
    await dashboard.goto(f"{control_plane.url}/images")
    row = dashboard.get_by_role("row").filter(has_text="debian-12")
    await row.get_by_role("button", name="Verify").click()
    await expect(row).to_contain_text("damaged")
    await expect(dashboard.get_by_role("alert")).to_contain_text("debian-12 is damaged")


async def test_operator_sees_no_button_on_a_phone_without_sideways_scrolling(
    page: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    _put(tmp_path)
    token = await control_plane.as_user([Role.OPERATOR])
    await log_in(page, control_plane, token, "/images")
    await page.set_viewport_size({"width": 390, "height": 800})
    await expect(page.get_by_role("row").filter(has_text="debian-12")).to_be_visible()
    for name in ("Upload an image", "Verify", "Delete"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await page.evaluate(wide)
    assert await inaccessible(page) == []
