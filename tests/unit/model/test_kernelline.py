"""What people may add to a kernel's command line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import InvalidInput
from lpmos.model.job import Job, MemoryTest
from lpmos.model.kernelline import (
    KERNEL_ARGUMENTS_PATTERN,
    LIMIT_CHARACTERS,
    OWN_WORDS,
    parse_kernel_arguments,
)
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task

NEVER = set("\"'\\`$;|&<>#{}")
PLAIN = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in NEVER]


def refused(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_kernel_arguments(text)
    (problem,) = caught.value.problems
    assert problem.field == "kernel_arguments"
    return problem.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nomodeset",
        "console=tty0 console=ttyS1,115200n8",
        "hugepagesz=1G hugepages=16 isolcpus=2-7,9",
        "memmap=64G!16G pci=realloc,nommconf usb-storage.quirks=0bc2:ab38:u",
        "root_squash rootflags=subvol=@ BOOTIFS=1",
        "a" * LIMIT_CHARACTERS,
    ],
)
def test_arguments_of_kernels_are_taken_as_they_are(text: str) -> None:
    assert parse_kernel_arguments(text) == text


@pytest.mark.parametrize("character", [*sorted(NEVER), "\n", "\t", "\0", "\x7f", "\xa0", "é"])
def test_character_that_a_loader_or_shell_may_act_on_is_refused(character: str) -> None:
    assert "ASCII" in refused(f"quiet a={character}b")


@pytest.mark.parametrize("text", [" quiet", "quiet ", "quiet  splash", " "])
def test_words_are_between_single_spaces(text: str) -> None:
    assert "single spaces" in refused(text)


def test_more_than_the_limit_is_refused() -> None:
    assert str(LIMIT_CHARACTERS) in refused("a" * (LIMIT_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("root=/dev/sda1", "root"),
        ("initrd=other", "initrd"),
        ("BOOTIF=01-52-54-00-00-00-01", "BOOTIF"),
        ("lpmos_client=http://192.0.2.9/", "lpmos_client"),
        ("lpmos_shell", "lpmos_shell"),
    ],
)
def test_word_of_lpmos_itself_is_refused_by_its_name(word: str, name: str) -> None:
    assert refused(f"quiet {word}") == f"{name} is set by LPMOS itself"


@given(st.lists(st.text(st.sampled_from(PLAIN), min_size=1), max_size=20).map(" ".join))
def test_plain_words_are_taken_unless_they_are_our_own(text: str) -> None:
    own = any(word.startswith(OWN_WORDS) for word in text.split())
    if own or len(text) > LIMIT_CHARACTERS:
        refused(text)
    else:
        assert parse_kernel_arguments(text) == text


@given(st.text())
def test_what_is_taken_has_nothing_to_act_on_and_is_of_the_published_pattern(text: str) -> None:
    try:
        parse_kernel_arguments(text)
    except InvalidInput:
        return
    assert not NEVER & set(text)
    assert text.isascii() and text.isprintable()
    assert "  " not in text and text.strip() == text
    assert re.search(KERNEL_ARGUMENTS_PATTERN, text)


def wrong(**fields: object) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        check_new_task(NewTask(idc="dc1", mac="52:54:00:00:00:01", **fields))  # type: ignore[arg-type]
    return [problem.field for problem in caught.value.problems]


def test_task_with_wrong_arguments_is_refused_by_the_field() -> None:
    debian = {"os_type": "debian", "os_version": "12"}
    assert wrong(**debian, kernel_arguments="init=$(reboot)") == ["kernel_arguments"]
    windows = {"os_type": "windows", "os_version": "2022", "hostname": "web-1"}
    assert "kernel_arguments" in wrong(**windows, kernel_arguments="quiet")


def test_job_has_no_kernel_of_its_own() -> None:
    assert "kernel_arguments" in wrong(job=Job(steps=(MemoryTest(),)), kernel_arguments="quiet")
