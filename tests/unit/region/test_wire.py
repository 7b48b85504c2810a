import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.agentrun import AgentRun
from lpmos.model.errors import InvalidInput
from lpmos.model.task import TaskError
from lpmos.region import wire

AGENT_ID = "0123456789abcdef" * 2
PROGRESS = {
    "mac_address": "52:54:00:00:00:01",
    "task_id": "t",
    "stage": "downloading",
    "percentage": 42.5,
}
STATUS = {"mac_address": "52:54:00:00:00:01", "task_id": "t", "status": "failed"}


def body(document: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({**document, **fields}).encode()


@pytest.mark.parametrize("mac", ["52:54:00:00:00:01", "52-54-00-00-00-01", "5254.0000.0001"])
def test_parse_whatever_the_notation_of_the_mac_is_the_same_run(mac: str) -> None:
    run, _ = wire.parse(body(PROGRESS, mac_address=mac, agent_id=AGENT_ID), wire.ProgressCall)
    assert run == AgentRun(mac="52:54:00:00:00:01", agent_id=AGENT_ID)


def test_parse_without_agent_id_the_mac_is_the_run() -> None:
    run, _ = wire.parse(body(PROGRESS), wire.ProgressCall)
    assert run.agent_id == run.mac == "52:54:00:00:00:01"


@pytest.mark.parametrize(
    "fields",
    [
        {"percentage": -0.1},
        {"percentage": 100.1},
        {"percentage": "x"},
        {"stage": "dreaming"},
        {"bytes_done": -1},
        {"agent_id": "x"},
        {"log": ["x"] * 201},
        {"log": [1]},
    ],
)
def test_parse_wrong_progress_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.parse(body(PROGRESS, **fields), wire.ProgressCall)
    assert [each.field.partition(".")[0] for each in caught.value.problems] == list(fields)


def test_parse_names_every_wrong_field_in_one_answer() -> None:
    hardware = {"memory": {"total_bytes": "x"}, "boot_mode": "coreboot"}
    document = {"mac_address": "nonsense", "sn": 7, "agent_id": "?", "hardware": hardware}
    with pytest.raises(InvalidInput) as caught:
        wire.parse(json.dumps(document).encode(), wire.Report)
    assert {each.field for each in caught.value.problems} >= {
        *("mac_address", "sn", "agent_id"),
        *("hardware.memory.total_bytes", "hardware.boot_mode"),
    }


def test_task_error_is_bounded_and_printable() -> None:
    error = {"command": "x" * 9999, "output": "a" * 9999 + "\x1b[2Jend\n", "hint": "look\nthere"}
    _, call = wire.parse(body(STATUS, message="broken\x07", error=error), wire.StatusCall)
    found = call.task_error()
    assert found.reason == "broken"
    assert len(found.command or "") == wire.REASON_CHARACTERS
    assert len(found.output or "") == wire.OUTPUT_CHARACTERS
    assert (found.output or "").endswith(" [2Jend\n")
    assert found.hint == "look there"


def test_task_error_without_words_has_a_reason() -> None:
    _, call = wire.parse(body(STATUS), wire.StatusCall)
    assert call.task_error() == TaskError(reason="the agent gave no reason")


@given(st.text())
def test_log_line_any_text_is_one_printable_line_with_a_level(text: str) -> None:
    line = wire.log_line(text)
    assert line.startswith(("[INFO]", "[WARN]", "[ERROR]"))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert wire.log_line(line) == line


@pytest.mark.parametrize(("text", "seconds"), [(None, 0), ("0", 0), ("25", 25), ("60", 60)])
def test_parse_wait_s_number_is_taken(text: str | None, seconds: int) -> None:
    assert wire.parse_wait_s(text, 60) == seconds


@pytest.mark.parametrize("text", ["61", "-1", "", "1.5", "٣", "x", "99999999999"])
def test_parse_wait_s_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        wire.parse_wait_s(text, 60)


@given(st.binary(max_size=200))
def test_parse_any_bytes_is_parsed_or_refused(data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, InvalidInput, UnicodeDecodeError)):
        wire.parse(data, wire.StatusCall)
