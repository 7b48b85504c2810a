"""Addresses to listen on that cannot be: said so before anything is opened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.server import listen
from lpmos.model.errors import SettingsError


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "8080", "host:port", "host:70000", "[::1]", "::1:80", "fd:x", "fd:", "a b"],
)
def test_listen_on_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="fd:N"):
        listen(address)


@given(st.text(alphabet="abc[].-", max_size=30))
def test_listen_on_any_text_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        listen(text)
