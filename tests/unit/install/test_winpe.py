"""The batch files of Windows's install: what they may write to, and that no value breaks out."""

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.install import answers, winpe
from lpmos.install.answers import samples
from lpmos.install.answers.order import Order, order_of
from lpmos.model.errors import InvalidInput
from lpmos.model.setup import Setup, TaskSecrets

MARK = "12345678-0000-4000-8000-0123456789ab"
DISK = '>>"%lpmos_dir%\\disk.txt" echo '
_SET = re.compile(r'set "([A-Za-z_][A-Za-z0-9_]*)=([^"\r\n]*)"')


def order(*, uefi: bool = True, secrets: TaskSecrets | None = None, **setup: object) -> Order:
    every = list(samples.tried(answers.FAMILIES["windows"]))
    task, manifest = every[1 if uefi else 0]
    if setup:
        changed = msgspec.structs.replace(task.setup, **setup)
        task = msgspec.structs.replace(task, setup=changed)
    return order_of(task, manifest, samples.URLS, secrets or samples.sealed(task))


def script(of: Order) -> list[str]:
    text = winpe.pe_files(of, MARK)[winpe.SCRIPT]
    assert text.count("\n") == text.count("\r\n") == len(text.split("\r\n")) - 1
    return text.split("\r\n")


def read(text: str) -> dict[str, str]:
    """What `cmd` sets by these lines, variables in them aside: within quotes a `%%` is a `%`."""
    found = {}
    for line in text.split("\r\n"):
        if match := _SET.fullmatch(line):
            found[match[1]] = match[2].replace("%%", "%")
    return found


def test_disk_is_written_only_after_exactly_one_has_the_mark() -> None:
    lines = script(order())
    assert f'set "lpmos_mark={MARK}"' in lines
    looked = lines.index("for /l %%d in (0,1,127) do call :look %%d")
    decided = lines.index('if not "%lpmos_count%"=="1" (')
    chosen = lines.index('>"%lpmos_dir%\\disk.txt" echo select disk %lpmos_disk%')
    assert looked < decided < chosen < lines.index(f"{DISK}clean")
    assert "goto stopped" in lines[decided + 2]
    assert sum("clean" in line for line in lines) == 1
    assert sum(line.startswith("diskpart ") for line in lines) == 2


@pytest.mark.parametrize(
    ("uefi", "firmware", "first", "boot"),
    [(True, "0x2", "convert gpt", "UEFI"), (False, "0x1", "convert mbr", "BIOS")],
)
def test_partitions_are_those_of_the_firmware_that_the_machine_reported(
    uefi: bool, firmware: str, first: str, boot: str
) -> None:
    lines = script(order(uefi=uefi))
    assert f'if not "%lpmos_firmware%"=="{firmware}" (' in lines
    assert lines[lines.index(f"{DISK}clean") + 1] == f"{DISK}{first}"
    assert f'bcdboot W:\\Windows /s S: /f {boot} >"%lpmos_out%" 2>&1' in lines


def test_every_label_that_is_called_is_there_once() -> None:
    files = {**winpe.pe_files(order(), MARK), **winpe.system_files(order(), "t" * 64)}
    for text in files.values():
        labels = re.findall(r"(?m)^:(\w+)\r$", text)
        assert len(set(labels)) == len(labels)
        called = set(re.findall(r"(?:call :|goto )(\w+)", text))
        assert called <= set(labels), called - set(labels)


def test_every_variable_of_a_script_is_set_by_it() -> None:
    for name in (winpe.SCRIPT, winpe.FIRST):
        files = winpe.pe_files(order(), MARK) | winpe.system_files(order(), "t" * 64)
        used = set(re.findall(r"[%!](lpmos_\w+)", files[name]))
        given_there = set(re.findall(r"set (?:/a )?\"?(lpmos_\w+)", files[name]))
        assert used <= given_there, used - given_there


def test_windows_says_that_it_is_installed_before_the_machine_restarts() -> None:
    lines = script(order())
    said = lines.index('call :insist "%lpmos_dir%\\installed.txt" "%lpmos_url%/installed"')
    assert lines.index('bcdboot W:\\Windows /s S: /f UEFI >"%lpmos_out%" 2>&1') < said
    assert lines[said + 1] == "if errorlevel 1 goto silent"
    assert said < lines.index("wpeutil reboot")


def test_every_file_of_the_system_is_fetched() -> None:
    text = "\n".join(script(order()))
    for name in winpe.system_files(order(), "t" * 64):
        assert f'"%lpmos_url%/windows/{name}"' in text


def test_first_start_removes_the_answer_file_and_runs_each_command_in_its_order() -> None:
    files = winpe.system_files(order(), "t" * 64)
    first = files[winpe.FIRST]
    at = [first.index(each) for each in ("Panther\\unattend.xml", "call :step 1 ", "call :step 2 ")]
    assert at == sorted(at)
    assert files["step-01.cmd"] == "echo done>C:\\done.txt\r\n"
    assert files["step-02.cmd"] == 'echo "%NAME%"\r\n'
    (up, failed) = re.findall(r"echo (\{.*\})\r", first)
    assert json.loads(up)["token"] == "t" * 64
    assert json.loads(failed)["status"] == "failed"
    assert 'rd /s /q "%~dp0lpmos"' in files[winpe.COMPLETE]


def test_first_start_removes_what_is_secret_before_it_says_a_word() -> None:
    files = winpe.system_files(order(), "t" * 64)
    first = files[winpe.FIRST]
    (forgotten,) = (
        line for line in first.split("\r\n") if line.startswith("del ") and "step-*" in line
    )
    assert all(
        f'"%lpmos_here%{name}"' in forgotten for name in ("values.cmd", "step-*.cmd", "*.log")
    )
    ran, said = first.index("goto broken"), first.index(":say\r")
    removed = [at.start() for at in re.finditer("call :forget\r", first)]
    up, failed = (at.start() for at in re.finditer(r'>"%lpmos_here%said.json" echo', first))
    told = first.index("/log?file=step.log&first=1")
    assert ran < removed[0] < up < told < removed[1] < failed < said


def test_files_of_the_first_start_are_for_system_and_administrators_before_any_is_there() -> None:
    allowed = '/inheritance:r /grant "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F"'
    lines = script(order())
    closed = lines.index(f'icacls "%lpmos_kept%" {allowed} >nul 2>&1')
    assert lines.index('if not exist "%lpmos_kept%\\" md "%lpmos_kept%"') < closed
    assert closed < min(
        n for n, line in enumerate(lines) if '"%lpmos_kept%\\' in line and n > closed
    )
    complete = winpe.system_files(order(), "t" * 64)[winpe.COMPLETE].split("\r\n")
    assert complete[1] == f'icacls "%~dp0lpmos" {allowed} >nul 2>&1'


@pytest.mark.parametrize("line", ["[====      52.0%       ]", "[====      52,0%       ]"])
def test_percentage_of_dism_is_read_with_a_point_and_with_a_comma(line: str) -> None:
    (read_by,) = (each for each in script(order()) if "call :number" in each)
    found = re.search(r'delims=(.*)" %%a', read_by)
    assert found is not None
    cut = re.split(f"[{re.escape(found[1].replace('%%', '%'))}]+", line)
    assert [each for each in cut if each][:2] == ["52", "0"]


def test_apply_that_stands_still_is_said_again() -> None:
    lines = script(order())
    turn = lines.index(":applying")
    said = lines.index("set /a lpmos_rest=lpmos_turns%%8")
    assert turn < said < lines.index("goto applying")
    assert lines[said + 2].startswith('if "%lpmos_rest%"=="0" call :progress installing ')
    assert "%lpmos_minutes% min" in lines[said + 2]


def test_apply_that_stands_still_for_ever_fails() -> None:
    lines = script(order())
    limit = lines.index("if %lpmos_still% GEQ 720 (")
    moved = lines.index('if not "%lpmos_now%"=="%lpmos_said%" set /a lpmos_still=0')
    assert lines.index(":applying") < lines.index("set /a lpmos_still+=1") < moved < limit
    assert lines[limit + 1].strip().startswith("call :failed ")
    assert lines[limit + 2].strip() == "goto stopped"


def test_values_are_the_secrets_that_are_no_password() -> None:
    secrets = TaskSecrets(values={"PASSWORD_OPS": "Secret-Horse-1", "NAME": "100% & more | ^ !"})
    text = winpe.system_files(order(secrets=secrets), "t" * 64)["values.cmd"]
    assert read(text) == {"NAME": "100% & more | ^ !"}
    assert "Horse" not in "".join(winpe.pe_files(order(secrets=secrets), MARK).values())


@given(st.text(max_size=60))
def test_value_in_a_batch_file_is_itself_or_is_refused(value: str) -> None:
    try:
        line = f'set "NAME={winpe.batch(value, "setup.secrets.NAME")}"'
    except InvalidInput as error:
        assert error.problems[0].field == "setup.secrets.NAME"
        assert '"' in value or not value.isascii() or not value.isprintable()
        return
    assert "%" not in line.replace("%%", "")
    assert read(line) == {"NAME": value}


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_name_of_an_image_cannot_be_more_than_shown(name: str) -> None:
    of = order()
    assert of.manifest.windows is not None
    windows = msgspec.structs.replace(of.manifest.windows, image_name=name)
    manifest = msgspec.structs.replace(of.manifest, windows=windows)
    text = winpe.pe_files(msgspec.structs.replace(of, manifest=manifest), MARK)[winpe.SCRIPT]
    plain = winpe.pe_files(of, MARK)[winpe.SCRIPT]
    shown = read(text)["lpmos_image"]
    assert text.replace(f"lpmos_image={shown}", "lpmos_image=Windows Server") == plain


@pytest.mark.parametrize("mark", ["", "1", MARK.upper(), f"{MARK}\n", f'{MARK}" & format'])
def test_mark_that_is_no_uuid_is_refused(mark: str) -> None:
    with pytest.raises(InvalidInput, match="mark"):
        winpe.pe_files(order(), mark)


def test_region_whose_address_cmd_would_change_is_refused() -> None:
    of = order()
    urls = msgspec.structs.replace(of.urls, mirror="http://region.example/a%41")
    with pytest.raises(InvalidInput, match="region"):
        winpe.pe_files(msgspec.structs.replace(of, urls=urls), MARK)


def test_task_without_commands_only_says_that_it_came_up() -> None:
    setup = Setup(users=samples.tried(answers.FAMILIES["windows"]).__next__()[0].setup.users)
    of = order()
    task = msgspec.structs.replace(of.task, setup=setup)
    files = winpe.system_files(msgspec.structs.replace(of, task=task), "t" * 64)
    assert set(files) == {winpe.COMPLETE, winpe.FIRST, "values.cmd"}
    assert "call :step" not in files[winpe.FIRST]
