"""Settings: one table, four sources, every problem reported at once."""

from pathlib import Path

import pytest

from lpmos.app.settings import load
from lpmos.app.settings_table import REGION, TABLE, UP
from lpmos.cli.main import parser
from lpmos.cli.reference import pages
from lpmos.model.errors import SettingsError

ROOT = Path(__file__).parents[3]


def test_load_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "lpmos.toml"
    file.write_text('idc = "from-file"\napi_port = 1\n')
    assert load(REGION, {}, {}, file).idc == "from-file"
    assert load(REGION, {}, {"LPMOS_IDC": "from-env"}, file).idc == "from-env"
    assert load(REGION, {"idc": "flag"}, {"LPMOS_IDC": "from-env"}, file).idc == "flag"
    assert load(REGION, {}, {}).api_port == 8081


@pytest.mark.parametrize("yes", ["true", '"yes"'])
def test_load_file_takes_true_for_yes(tmp_path: Path, yes: str) -> None:
    file = tmp_path / "lpmos.toml"
    file.write_text(f"dhcp_known_only = {yes}\n")
    assert load(REGION, {}, {}, file).dhcp_known_only is True
    file.write_text("dhcp_known_only = false\n")
    assert load(REGION, {}, {}, file).dhcp_known_only is False


@pytest.mark.parametrize("variable", ["LPMOS_IDC", "REGION_LABEL", "REGION_ID"])
def test_load_older_environment_names_are_accepted(variable: str) -> None:
    assert load(REGION, {}, {variable: "dc7"}).idc == "dc7"


def test_load_api_port_from_its_older_variable() -> None:
    assert load(REGION, {}, {"API_PORT": "9000"}).api_port == 9000


@pytest.mark.parametrize("flag", ["--idc", "--label", "--region-id"])
def test_command_line_older_flags_are_accepted(flag: str) -> None:
    assert parser().parse_args(["region", flag, "dc3"]).idc == "dc3"


def test_load_reports_every_problem_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "lpmos.toml"
    file.write_text('nonsense = 1\nlog_level = "loud"\n')
    with pytest.raises(SettingsError) as caught:
        load(UP, {"api_port": "99999"}, {"REGION_ID": "DC/1"}, file)
    text = str(caught.value)
    for part in ("'nonsense'", "log_level in the file", "--api-port", "REGION_ID"):
        assert part in text


def test_load_kernel_arguments_are_checked_as_a_tasks_are_and_for_installers_words() -> None:
    assert load(REGION, {"kernel_arguments": "nomodeset a=1,2"}, {}).kernel_arguments == (
        "nomodeset a=1,2"
    )
    with pytest.raises(SettingsError, match=r"LPMOS_KERNEL_ARGUMENTS.*root is set by LPMOS itself"):
        load(UP, {}, {"LPMOS_KERNEL_ARGUMENTS": "root=/dev/sda1"})
    with pytest.raises(SettingsError, match=r"inst\.ks is set by LPMOS itself"):
        load(REGION, {"kernel_arguments": "nomodeset inst.ks=http://192.0.2.9/ks"}, {})


def test_load_a_named_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load(UP, {}, {}, tmp_path / "absent.toml")


def test_load_lists_from_file_and_text_are_alike(tmp_path: Path) -> None:
    file = tmp_path / "lpmos.toml"
    file.write_text('listen_addr = ["127.0.0.1:1", "fd:3"]\n')
    assert load(UP, {}, {}, file).listen_addr == ("127.0.0.1:1", "fd:3")
    assert load(UP, {"listen_addr": "127.0.0.1:1, fd:3"}, {}).listen_addr == (
        "127.0.0.1:1",
        "fd:3",
    )


def test_every_setting_has_help_and_its_own_names() -> None:
    names = [name for setting in TABLE for name in (*setting.flags, *setting.variables)]
    assert len(names) == len(set(names))
    assert all(setting.help.endswith(".") for setting in TABLE)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "36501", "٣", "9" * 30, ""])
def test_load_days_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--audit-days"):
        load(UP, {"audit_days": text})


@pytest.mark.parametrize("name", sorted(pages()))
def test_generated_pages_are_as_the_code_says(name: str) -> None:
    assert (ROOT / "docs/reference" / name).read_text() == pages()[name], "run `make docs`"


def test_load_networks_from_tables_of_the_file_and_from_json_are_alike(tmp_path: Path) -> None:
    file = tmp_path / "lpmos.toml"
    file.write_text(
        '[[dhcp_network]]\ninterface = "eno1.10"\nrange = ["192.0.2.10", "192.0.2.20"]\n'
        '[[dhcp_network]]\ninterface = "eno2"\nmode = "proxy"\nsubnet = "198.51.100.0/24"\n'
    )
    tables = load(UP, {}, {}, file).dhcp_network
    assert [network.mode for network in tables] == ["full", "proxy"]
    text = (
        '[{"interface": "eno1.10", "range": ["192.0.2.10", "192.0.2.20"]},'
        ' {"interface": "eno2", "mode": "proxy", "subnet": "198.51.100.0/24"}]'
    )
    assert load(UP, {"dhcp_network": text}, {}).dhcp_network == tables


def test_load_network_with_an_unknown_field_names_it(tmp_path: Path) -> None:
    file = tmp_path / "lpmos.toml"
    file.write_text('[[dhcp_network]]\ninterface = "eno1"\ncolour = "red"\n')
    with pytest.raises(SettingsError, match=r"dhcp_network in the file.*colour"):
        load(UP, {}, {}, file)
