"""The store's errors as a tree."""

from lpmos.model.errors import LpmosError
from lpmos.store import api


def _errors() -> list[type[api.StoreError]]:
    found = [one for one in vars(api).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, api.StoreError)]


def test_store_errors_have_codes_of_their_own() -> None:
    codes = [error.code for error in _errors()]
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("store-") for code in codes)
    assert LpmosError.code not in codes


def test_store_errors_are_all_drawn_in_the_module() -> None:
    assert api.__doc__ is not None
    for error in _errors():
        assert error.__name__ in api.__doc__


def test_compacted_says_what_is_the_oldest_revision() -> None:
    assert api.Compacted(17).compact_revision == 17
    assert "17" in str(api.Compacted(17))
