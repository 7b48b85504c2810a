import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import InvalidInput
from lpmos.model.fingerprint import PLACEHOLDERS, usable_sn
from lpmos.region.boot import BootRequest, parse_boot_request, runs_on


def test_parse_boot_request_as_ipxe_sends_it() -> None:
    query = {
        "mac": "52-54-00-AB-CD-EF",
        "sn": "7CZ0123",
        "uuid": "a1b2",
        "arch": "x86_64",
        "platform": "efi",
    }
    assert parse_boot_request(query) == BootRequest(
        mac="52:54:00:ab:cd:ef", sn="7CZ0123", uuid="a1b2", architecture="x86_64", platform="efi"
    )


@pytest.mark.parametrize("query", [{}, {"mac": ""}, {"mac": "${net0/mac}"}])
def test_parse_boot_request_without_a_mac_is_refused_and_names_it(query: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_boot_request(query)
    assert [problem.field for problem in caught.value.problems] == ["mac"]


@given(st.dictionaries(st.sampled_from(["mac", "sn", "uuid", "arch", "platform"]), st.text()))
def test_parse_boot_request_any_query_is_parsed_or_refused(query: dict[str, str]) -> None:
    try:
        asked = parse_boot_request(query)
    except InvalidInput:
        return
    for word in (asked.uuid, asked.architecture, asked.platform, asked.sn):
        assert word is None or word.isascii()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "   ",
        "0",
        "00000000",
        "........",
        "To Be Filled By O.E.M.",
        "Default string",
        "None",
        "Not Specified",
        "a/b",
        "../../x",
        *sorted(PLACEHOLDERS),
    ],
)
def test_usable_sn_placeholder_is_none(text: str | None) -> None:
    assert usable_sn(text) is None


@pytest.mark.parametrize("text", ["7CZ0123", "SN-001", " MXQ1 "])
def test_usable_sn_of_a_maker_is_itself(text: str) -> None:
    assert usable_sn(text) == text.strip()


@pytest.mark.parametrize(
    ("asked", "runs"),
    [("i386", True), ("x86_64", True), (None, True), ("arm64", False), ("arm32", False)],
)
def test_agent_image_for_x86_runs_on_what_ipxe_says_it_is(asked: str | None, *, runs: bool) -> None:
    assert runs_on("x86_64", asked) is runs
