"""No text of a user breaks out of its place in an answer file."""

import shlex
import warnings
from typing import Any
from xml.dom import minidom

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from lpmos.install import answers
from lpmos.install.answers import quoting, samples
from lpmos.model.errors import InvalidInput
from lpmos.model.installer import Family
from lpmos.model.setup import Account, Setup, TaskSecrets
from tests.support.answers import READERS, SHELL_FAMILIES, answer_of, answer_task, preseed_values

HOSTILE = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=60),
    st.lists(
        st.sampled_from(
            [
                *("\n", "'", '"', "\\", "\\\n", "%end", "%include /etc/shadow", "%pre", " %end "),
                *(
                    "]]>",
                    "<![CDATA[",
                    "</source>",
                    "&amp;",
                    "<!--",
                    "--- #",
                    ": ",
                    "- ",
                    "{{ task }}",
                ),
                *(
                    "$(reboot)",
                    "`reboot`",
                    ";reboot",
                    "LPMOS_HOOKS",
                    "EOF",
                    "d-i a/b string c",
                    "#",
                ),
                *("\u2028", "\u0085", "\ufffe", "\x1b", "\t", "é", "@PLACE@"),
            ]
        ),
        max_size=8,
    ).map("".join),
)
PRINTABLE = HOSTILE.map(lambda text: "".join(c for c in text if c.isprintable() or c in "\n\t"))


@given(HOSTILE)
def test_shell_word_is_that_word_and_no_line_of_it_ends_a_kickstart_section(text: str) -> None:
    word = quoting.shell(text)
    assert shlex.split(word) == [text]
    assert not any(line.lstrip(" \t").startswith("%") for line in word.split("\n"))


@given(HOSTILE)
def test_yaml_value_is_that_text(text: str) -> None:
    assert yaml.safe_load(f"a: {quoting.yaml(text)}\nb: 1\n") == {"a": text, "b": 1}


@given(HOSTILE)
def test_yaml_script_is_that_text(text: str) -> None:
    script = f"echo begin\n{text}\nend\n"
    read = yaml.safe_load(f"- a\n- {quoting.yaml_block(script, 4)}\n- c\n")
    assert read == ["a", script, "c"]


@given(HOSTILE)
def test_kickstart_value_is_one_word_of_one_line(text: str) -> None:
    word = quoting.kickstart(text)
    assert "\n" not in word
    assert len(shlex.split(word, comments=True)) == 1


@given(HOSTILE)
def test_preseed_value_is_one_line_and_takes_nothing_from_the_next(text: str) -> None:
    values = preseed_values(f"d-i a/b string {quoting.preseed(text)}\nd-i c/d string e\n")
    assert list(values) == ["a/b", "c/d"]
    assert values["c/d"] == "e"


@given(HOSTILE)
def test_xml_value_is_one_text_with_nothing_in_it(text: str) -> None:
    encoded = quoting.xml(text)
    (element,) = etree.fromstring(f'<a><b c="{encoded}">{encoded}</b></a>'.encode())
    assert len(element) == 0
    assert (element.text or "") == quoting._NOT_XML.sub("\ufffd", text)


@given(HOSTILE.map(lambda text: f" {text}\n "))
@example(" \t ")
def test_yast_value_keeps_the_spaces_at_its_ends(text: str) -> None:
    document = minidom.parseString(f"<a>{quoting.yast(text)}</a>")  # noqa: S318 - our own text
    assert document.documentElement
    read = [
        part.data if isinstance(part, minidom.CDATASection) else part.data.strip(" \t\n")
        for part in document.documentElement.childNodes
        if isinstance(part, minidom.Text)
    ]
    assert "".join(read) == quoting._NOT_XML.sub("\ufffd", text)


@given(HOSTILE)
def test_xml_script_is_that_text_or_refused(text: str) -> None:
    try:
        section = quoting.cdata(text)
    except InvalidInput:
        return
    element = etree.fromstring(f"<a>{section}</a>".encode())
    assert (element.text, len(element)) == (f"\n{text}", 0)


@pytest.mark.parametrize("character", ["\r", "\0"])
def test_script_with_what_an_installer_leaves_out_is_refused(character: str) -> None:
    with pytest.raises(InvalidInput, match=r"U\+00"):
        quoting.preseed_script(f"echo {character}", "/run/a")
    with pytest.raises(InvalidInput, match=r"U\+00"):
        quoting.cdata(f"echo {character}")


def _task(text: str) -> dict[str, Any]:
    key = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 {text}"
    setup = Setup(users=(Account(name="admin", ssh_keys=(key,)),), commands=(f"echo 1\n{text}",))
    return {"setup": setup, "ssh_keys": (key,), "tags": {"a": text}, "acting_for": text}


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_password_in_windows_answer_is_that_text_and_nothing_else(text: str) -> None:
    task, manifest = next(samples.tried(answers.FAMILIES["windows"]))
    names = {"PASSWORD_ADMINISTRATOR": text, "PASSWORD_OPS": f"{text}2"}
    values = answers.variables(task, manifest, samples.URLS, TaskSecrets(values=names))
    root = etree.fromstring(answers.render("windows", values).encode())
    found = [each.text for each in root.iter("{urn:schemas-microsoft-com:unattend}Value")]
    assert found == [text, f"{text}2"]


@pytest.mark.parametrize("family", SHELL_FAMILIES)
@settings(max_examples=25, deadline=None)
@given(text=PRINTABLE)
def test_answer_with_a_hostile_text_is_built_as_with_any_other(family: Family, text: str) -> None:
    secrets = TaskSecrets(values={"TOKEN": text}, disk_passphrase=text)
    with warnings.catch_warnings(action="ignore"):
        plain = READERS[family](answer_of(family, answer_task(**_task("plain")), secrets))
        read = READERS[family](answer_of(family, answer_task(**_task(text)), secrets))
    assert read.names == plain.names
    assert read.storage == plain.storage
    assert len(read.scripts) == len(plain.scripts)
    command = quoting.shell(f"echo 1\n{text}").removesuffix("'")
    late = "".join(read.scripts)
    assert command.partition("echo 1\n")[2] in late
