"""Where the agent's options come from."""

import pytest

from lpmos.agent.errors import BadOptions
from lpmos.agent.options import kernel_arguments, read_options

URL = "http://192.0.2.1:8081"


def test_kernel_arguments_are_words_with_values() -> None:
    found = kernel_arguments("initrd=initrd lpmos_client=http://a:1/?x=y quiet")
    assert found == {"initrd": "initrd", "lpmos_client": "http://a:1/?x=y", "quiet": ""}


def test_regional_url_flag_wins_over_environment_and_kernel() -> None:
    arguments = {"lpmos_client": "http://kernel:1"}
    environment = {"REGIONAL_CLIENT_URL": "http://environment:1"}
    flag = ["--regional-url", URL]
    assert read_options(flag, environment, arguments).regional_url == URL
    assert read_options([], environment, arguments).regional_url == "http://environment:1"
    assert read_options([], {}, arguments).regional_url == "http://kernel:1"


def test_options_of_a_simulation_are_read() -> None:
    found = read_options(
        f"--simulate --regional-url {URL}/ --sn SIM-1 --mac 52-54-00-AA-BB-CC --speed 100".split(),
        {},
        {},
    )
    assert (found.regional_url, found.sn, found.mac) == (URL, "SIM-1", "52:54:00:aa:bb:cc")
    assert (found.simulate, found.speed_mbit) == (True, 100.0)


def test_sn_of_the_kernel_line_is_taken() -> None:
    assert read_options([], {}, {"lpmos_client": URL, "lpmos_sn": "SN-9"}).sn == "SN-9"


@pytest.mark.parametrize(
    "url", ["", "192.0.2.1:8081", "ftp://a", "http://", "http://a:99999", "http://a/?q"]
)
def test_regional_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(BadOptions, match=r"regional-url|region's URL"):
        read_options([], {}, {"lpmos_client": url})


def test_mac_that_is_none_is_refused() -> None:
    with pytest.raises(BadOptions, match="MAC"):
        read_options(["--regional-url", URL, "--mac", "52:54"], {}, {})


def test_boot_script_names_nonce_ca_and_where_files_are() -> None:
    line = f"lpmos_client={URL} lpmos_nonce=a.b-c.d_e lpmos_ca=sha256:{'0F' * 32} lpmos_boot={URL}/"
    found = read_options([], {}, kernel_arguments(line))
    assert (found.nonce, found.ca_sha256, found.boot_url) == ("a.b-c.d_e", "0f" * 32, URL)
    without = read_options([], {}, {"lpmos_client": URL, "lpmos_nonce": "", "lpmos_ca": ""})
    assert (without.nonce, without.ca_sha256, without.boot_url) == (None, None, None)


def test_boot_script_names_the_trace_and_a_malformed_one_is_none() -> None:
    line = f"lpmos_client={URL} lpmos_trace=00-{'a1' * 16}-{'b2' * 8}-01"
    assert read_options([], {}, kernel_arguments(line)).trace == ("a1" * 16, "b2" * 8)
    for text in ("", "00-nonsense", f"00-{'0' * 32}-{'b2' * 8}-01"):
        given = {"lpmos_client": URL, "lpmos_trace": text}
        assert read_options([], {}, given).trace is None


@pytest.mark.parametrize("ca", ["sha256:", "0f" * 32, "sha1:" + "0f" * 20, "sha256:" + "g" * 64])
def test_fingerprint_that_is_none_is_refused_by_name(ca: str) -> None:
    with pytest.raises(BadOptions, match="lpmos_ca"):
        read_options([], {}, {"lpmos_client": URL, "lpmos_ca": ca})
