"""What `sfdisk --json` says of an image's table, as the agent takes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.commands import Output
from lpmos.agent.disktable import DiskTable, Entry, parse_table, read_table
from lpmos.agent.errors import InstallError
from tests.support.agent_commands import RecordingCommands

ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"


def listing(device: str = "/dev/nvme0n1", separator: str = "p", label: str = "gpt") -> str:
    """A table as sfdisk prints it, a warning before it."""
    return f"""GPT PMBR size mismatch will be corrected by write.
{{"partitiontable": {{"label": "{label}", "id": "X", "device": "{device}", "unit": "sectors",
"partitions": [
  {{"node": "{device}{separator}1", "start": 227328, "size": 4000, "type": "{ROOT}"}},
  {{"node": "{device}{separator}14", "start": 2048, "size": 8192, "type": "21686148-6449"}}]}}}}"""


@pytest.mark.parametrize(("device", "separator"), [("/dev/nvme0n1", "p"), ("/dev/sda", "")])
def test_table_is_read_past_warnings_and_its_last_partition_is_by_place(
    device: str, separator: str
) -> None:
    commands = RecordingCommands()
    commands.on("sfdisk --json", Output(0, listing(device, separator)))
    table = read_table(commands, device)
    assert [entry.number for entry in table.entries] == [1, 14]
    assert table.last == Entry(1, f"{device}{separator}1", 227328, 4000, ROOT.upper())
    assert table.of_types((ROOT.upper(),)) == (table.last,)


@pytest.mark.parametrize("output", [Output(1, "does not contain"), Output(0, "no json")])
def test_disk_without_a_table_fails_with_what_sfdisk_said(output: Output) -> None:
    commands = RecordingCommands()
    commands.on("sfdisk --json", output)
    with pytest.raises(InstallError, match="no partition table that fits /dev/vda") as failed:
        read_table(commands, "/dev/vda")
    assert failed.value.output == output.text
    assert "sectors" in failed.value.hint


@pytest.mark.parametrize(("label", "moved"), [("gpt", True), ("dos", False)])
def test_only_gpt_has_a_backup_to_move_and_a_guid_to_renew(label: str, moved: bool) -> None:
    commands = RecordingCommands()
    commands.on("sfdisk --json", Output(0, listing("/dev/sda", "", label)))
    DiskTable(commands, "/dev/sda").fit()
    assert any("--relocate gpt-bak-std" in ran for ran in commands.ran) is moved
    assert any("--disk-id /dev/sda" in ran for ran in commands.ran) is moved


documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["label", "partitions", "node", "start", "size", "type"]), inner
        )
    ),
)


@given(documents)
def test_any_document_is_a_table_or_an_error(document: Any) -> None:
    try:
        table = parse_table({"partitiontable": document}, "/dev/sda")
    except InstallError:
        return
    assert table.entries
