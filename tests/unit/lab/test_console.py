"""What a console finds does not depend on how the machine's bytes were cut."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.lab.console import LINE_BYTES, Console, plain_text
from lpmos.lab.errors import ProcessFailed, WaitTimedOut

SHORT_S = 0.05
LONG_S = 5.0


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def open_console(log: Path, clock: Clock | None = None) -> Console:
    console = Console(log, clock or Clock())
    console.open()
    return console


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[2J\x1b[01;01HSeaBIOS\r", "SeaBIOS"),
        (b"\x1b[=3h\x1b[0m\x1b[35mBdsDxe\x1b[37m: loading  ", "BdsDxe: loading"),
        (b"\x1b(B\x1b7web-1 login: ", "web-1 login:"),
        (b"\xff ok", "\ufffd ok"),
    ],
)
def test_plain_text_of_terminal_output_has_no_escape_sequences(raw: bytes, text: str) -> None:
    assert plain_text(raw) == text


@given(
    st.lists(st.sampled_from([b"a", b"\x1b[31m", b"\n", b"\r", b"login: ", b"\xc3\xa4"])),
    st.data(),
)
def test_lines_do_not_depend_on_how_the_bytes_were_cut(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], data: st.DataObject
) -> None:
    whole, cut = (
        open_console(tmp_path_factory.mktemp("console") / name) for name in ("whole", "cut")
    )
    output = b"".join(pieces)
    whole.feed(output)
    while output:
        size = data.draw(st.integers(1, len(output)))
        cut.feed(output[:size])
        output = output[size:]
    assert cut.tail(1000) == whole.tail(1000)


def test_log_of_two_lines_has_seconds_since_power_on(tmp_path: Path) -> None:
    clock = Clock()
    console = open_console(tmp_path / "log", clock)
    clock.now += 1.5
    console.feed(b"one\r\n\r\n")
    clock.now += 10
    console.feed(b"two\nunfinished")
    assert (tmp_path / "log").read_text() == "    1.50 one\n   11.50 two\n"


async def test_wait_for_text_that_is_there_answers_the_match(tmp_path: Path) -> None:
    console = open_console(tmp_path / "log")
    console.feed(b"Debian GNU/Linux 12 web-1 ttyS0\n\nweb-1 login: ")
    assert (await console.wait_for(r"(\S+) login:", SHORT_S))[1] == "web-1"


async def test_wait_for_the_same_prompt_twice_finds_the_second_one(tmp_path: Path) -> None:
    console = open_console(tmp_path / "log")
    console.feed(b"web-1 login: ")
    await console.wait_for("login:", SHORT_S)
    console.feed(b"root\nPassword: ")
    with pytest.raises(WaitTimedOut):
        await console.wait_for("login:", SHORT_S)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(console.wait_for("login:", LONG_S))
        await asyncio.sleep(0)
        console.feed(b"\nweb-1 login: ")
    assert waiting.result()


async def test_wait_for_text_that_never_comes_shows_the_newest_lines(tmp_path: Path) -> None:
    console = open_console(tmp_path / "log")
    console.feed(b"No bootable device.\n")
    with pytest.raises(WaitTimedOut, match="No bootable device"):
        await console.wait_for("login:", SHORT_S)


async def test_wait_for_a_machine_that_goes_off_ends_at_once(tmp_path: Path) -> None:
    console = open_console(tmp_path / "log")
    loop = asyncio.get_running_loop()
    loop.call_soon(console.feed, b"reboot: Power down")
    loop.call_soon(console.close, "web-1 went off")
    with pytest.raises(ProcessFailed, match=r"web-1 went off[\s\S]*Power down"):
        await console.wait_for("login:", LONG_S)


async def test_wait_for_text_after_a_reset_in_the_middle_of_a_line_finds_it(tmp_path: Path) -> None:
    console = open_console(tmp_path / "log")
    console.feed(b"net0: 52:54:00:78:0")
    await console.wait_for("net0: 52:54", SHORT_S)
    console.feed(b"SeaBIOS (version 1.16)")
    assert await console.wait_for("SeaBIOS", SHORT_S)


def test_line_without_end_is_cut(tmp_path: Path) -> None:
    console = open_console(tmp_path / "log")
    console.feed(b"x" * (LINE_BYTES * 2 + 5))
    assert [len(line) for line in console.tail()] == [LINE_BYTES, LINE_BYTES, 5]
