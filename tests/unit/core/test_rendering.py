"""Templates: what they may do, what they may not, and that nothing gets out of the box."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.rendering import problems, render
from lpmos.model.errors import InvalidInput

TASK = {"task": {"hostname": "web1", "tags": {"rack": "a1"}, "macs": ["a", "b"]}, "machine": {}}


def test_render_fills_in_what_the_task_says() -> None:
    text = "{% for mac in task.macs %}{{ task.hostname }} {{ mac | upper }}\n{% endfor %}"
    assert render(text, TASK) == "web1 A\nweb1 B\n"


def test_render_of_a_missing_value_names_it() -> None:
    with pytest.raises(InvalidInput, match="nothing_here"):
        render("{{ task.nothing_here }}", TASK)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("line\n{{ task.", "line 2"),
        ("{% include 'x' %}", "include is not allowed"),
        ("{% macro a() %}{{ a() }}{% endmacro %}", "macro is not allowed"),
        ("{{ 'a' * 1000000000 }}", "mul is not allowed"),
        ("{{ 9 ** 9 ** 9 }}", "pow is not allowed"),
        ("{{ '%9999999999d' % 1 }}", "mod is not allowed"),
        ("{{ 'x' | center(1000000000) }}", "no filter 'center'"),
        ("{{ lipsum() }}", "no variable 'lipsum'"),
        ("{{ range(10) }}", "no variable 'range'"),
        ("{{ secret }}", "no variable 'secret'"),
        (
            "{% for a in task.macs %}{% for b in task.macs %}{% for c in task.macs %}"
            "{% endfor %}{% endfor %}{% endfor %}",
            "at most 2 deep",
        ),
    ],
)
def test_template_that_could_run_away_is_refused_by_line(content: str, words: str) -> None:
    assert words in " ".join(problem.message for problem in problems(content))
    with pytest.raises(InvalidInput):
        render(content, TASK)


@pytest.mark.parametrize(
    "content",
    [
        "{{ task.__class__ }}",
        "{{ task.tags.__class__.__mro__ }}",
        "{{ task.hostname.format.__globals__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
    ],
)
def test_template_cannot_reach_out_of_its_variables(content: str) -> None:
    with pytest.raises(InvalidInput):
        render(content, TASK)


@given(st.text(alphabet="{}%|()[]'\" .abtask_for in endfor if 019*~-#\n", max_size=80))
def test_any_text_is_rendered_or_refused(content: str) -> None:
    try:
        assert isinstance(render(content, TASK), str)
    except InvalidInput as error:
        assert all(problem.field == "content" for problem in error.problems)
