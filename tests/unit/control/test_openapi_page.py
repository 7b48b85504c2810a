"""The description of the API is made once, for all who ask, and anew where making it failed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from lpmos.control.openapi import page


class Maker:
    """Stands in for the making; `made` is how often, and the first `failing` times it fails."""

    def __init__(self, failing: int = 0) -> None:
        self.made = 0
        self.failing = failing

    def __call__(self, routes: object) -> bytes:
        """Make it."""
        self.made += 1
        if self.made <= self.failing:
            raise OSError("no memory")
        return b"{}"


async def asked(request: Any) -> bytes:
    answer = await page.openapi_document.fn(request)
    content: bytes = answer.content
    return content


@pytest.fixture
def asking() -> Any:
    return SimpleNamespace(app=SimpleNamespace(state={}, routes=()))


async def test_description_is_made_once_for_all_who_ask_at_once(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker()
    monkeypatch.setattr(page, "_made", maker)
    first, second = await asyncio.gather(asked(asking), asked(asking))
    assert first == second == b"{}"
    assert await asked(asking) == b"{}"
    assert maker.made == 1


async def test_description_is_made_on_for_others_where_who_asked_first_has_left(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker()
    monkeypatch.setattr(page, "_made", maker)
    first, second = asyncio.create_task(asked(asking)), asyncio.create_task(asked(asking))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"{}"
    assert maker.made == 1


async def test_description_is_made_anew_after_it_failed(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker(failing=1)
    monkeypatch.setattr(page, "_made", maker)
    with pytest.raises(OSError, match="no memory"):
        await asked(asking)
    assert await asked(asking) == b"{}"
    assert maker.made == 2
