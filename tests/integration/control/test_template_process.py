"""A template that asks for everything takes nothing from the control plane that tries it."""

import asyncio

import pytest

from lpmos.core import template_process
from lpmos.core.template_process import TemplateProcess
from lpmos.model.errors import InvalidInput, TooBusy

VARIABLES = {"task": {"sn": "SN-1"}, "machine": {"disks": [{"size": n} for n in range(400)]}}
DOUBLED = "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a | length }}"
ENDLESS = (
    "{% for a in machine.disks %}{% for b in machine.disks %}"
    "{% set c = machine | tojson %}{% endfor %}{% endfor %}"
)


async def test_template_is_rendered_with_its_variables() -> None:
    text = await TemplateProcess().render("host {{ task.sn }}\n", VARIABLES)
    assert text == "host SN-1\n"


async def test_wrong_template_is_refused_with_its_line() -> None:
    with pytest.raises(InvalidInput, match="no variable 'host'") as caught:
        await TemplateProcess().render("\n{{ host }}", VARIABLES)
    assert "line 2" in caught.value.problems[0].message


@pytest.mark.parametrize("content", [DOUBLED, ENDLESS], ids=["memory", "time"])
async def test_template_beyond_its_bounds_is_refused_and_holds_up_nothing(content: str) -> None:
    rendering = asyncio.create_task(TemplateProcess().render(content, VARIABLES))
    turns = 0
    while not rendering.done():
        await asyncio.wait([rendering], timeout=0.01)
        turns += 1

    with pytest.raises(InvalidInput, match="memory or"):
        await rendering
    assert turns > 2  # held up, it would be until the end


async def test_more_templates_than_at_once_are_too_many() -> None:
    process = TemplateProcess()
    under_way = [
        asyncio.create_task(process.render("{{ task.sn }}", VARIABLES))
        for _ in range(template_process.AT_ONCE)
    ]
    await asyncio.sleep(0)

    with pytest.raises(TooBusy):
        await process.render("{{ task.sn }}", VARIABLES)

    assert await asyncio.gather(*under_way) == ["SN-1", "SN-1"]
    assert await process.render("{{ task.sn }}", VARIABLES) == "SN-1"


async def test_cancelled_rendering_leaves_no_process_and_room_for_the_next() -> None:
    process = TemplateProcess()
    rendering = asyncio.create_task(process.render(ENDLESS, VARIABLES))
    await asyncio.wait([rendering], timeout=0.3)
    rendering.cancel()
    await asyncio.wait([rendering])

    assert rendering.cancelled()
    assert await process.render("{{ task.sn }}", VARIABLES) == "SN-1"
