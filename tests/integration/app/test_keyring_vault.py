"""Keys in Vault: made, read, added and removed by check-and-set, and errors that say what to do."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpmos.app.keyring import VAULT_FIELD, VaultKeys
from lpmos.model.errors import SettingsError
from tests.support.certificates import Authority
from tests.support.vault import TOKEN, FakeVault, fake_vault, token_file


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    """A server over plain HTTP."""
    with fake_vault() as vault:
        yield vault


def provider(vault: FakeVault, directory: Path, mount: str = "secret") -> VaultKeys:
    """The keys in it."""
    return VaultKeys(vault.address, token_file(directory), mount=mount, path="lpmos/keys")


async def test_empty_vault_gets_a_first_key(vault: FakeVault, tmp_path: Path) -> None:
    ring = await provider(vault, tmp_path).read()
    assert len(ring.key_ids) == 1
    (version,) = vault.versions["lpmos/keys"]
    assert version is not None
    assert list(version) == [VAULT_FIELD]
    assert (await provider(vault, tmp_path).read()).items() == ring.items()
    assert len(vault.versions["lpmos/keys"]) == 1


async def test_two_that_find_it_empty_get_the_same_key(vault: FakeVault, tmp_path: Path) -> None:
    rings = await asyncio.gather(*(provider(vault, tmp_path).read() for _ in range(6)))
    assert len({ring.items() for ring in rings}) == 1


async def test_keys_are_added_and_removed(vault: FakeVault, tmp_path: Path) -> None:
    keys = provider(vault, tmp_path)
    first = (await keys.read()).oldest
    assert (await keys.add("second", b"2" * 32)).key_ids == (first, "second")
    assert (await keys.remove(first)).key_ids == ("second",)
    assert (await keys.read()).key_ids == ("second",)


async def test_key_that_another_adds_meanwhile_is_kept(vault: FakeVault, tmp_path: Path) -> None:
    keys = provider(vault, tmp_path)
    first = await keys.read()
    (version,) = vault.versions["lpmos/keys"]
    assert version is not None
    line = "rival cnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI=\n"
    vault.rival = {VAULT_FIELD: version[VAULT_FIELD] + line}
    ring = await keys.add("second", b"2" * 32)
    assert ring.key_ids == (first.oldest, "rival", "second")


async def test_token_is_read_anew_for_each_call(vault: FakeVault, tmp_path: Path) -> None:
    keys = provider(vault, tmp_path)
    token_file(tmp_path, "expired")
    with pytest.raises(SettingsError, match="permission denied") as refused:
        await keys.read()
    assert "expired" not in str(refused.value)
    token_file(tmp_path)
    assert (await keys.read()).key_ids


async def test_deleted_secret_is_not_replaced_by_a_new_one(
    vault: FakeVault, tmp_path: Path
) -> None:
    keys = provider(vault, tmp_path)
    await keys.read()
    vault.versions["lpmos/keys"].append(None)
    with pytest.raises(SettingsError, match="was deleted; restore a version"):
        await keys.read()
    assert len(vault.versions["lpmos/keys"]) == 2


async def test_sealed_vault_is_named(vault: FakeVault, tmp_path: Path) -> None:
    vault.sealed = True
    with pytest.raises(SettingsError, match=r"Vault at http.*secret/lpmos/keys.*sealed"):
        await provider(vault, tmp_path).read()


async def test_engine_that_is_not_there_is_refused(vault: FakeVault, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="other/lpmos/keys"):
        await provider(vault, tmp_path, mount="other").read()


async def test_secret_without_the_field_is_left_alone(vault: FakeVault, tmp_path: Path) -> None:
    vault.versions["lpmos/keys"] = [{"password": "of somebody else"}]
    with pytest.raises(SettingsError, match="no field 'keys'"):
        await provider(vault, tmp_path).read()
    assert len(vault.versions["lpmos/keys"]) == 1


async def test_address_where_nobody_listens_is_an_error_of_ours(tmp_path: Path) -> None:
    with fake_vault() as gone:
        address = gone.address
    keys = VaultKeys(address, token_file(tmp_path), mount="secret", path="lpmos/keys")
    with pytest.raises(SettingsError, match="Vault at") as refused:
        await keys.read()
    assert TOKEN not in str(refused.value)


async def test_server_is_believed_only_with_the_given_authority(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    with fake_vault(authority.issue("vault")) as vault:

        def keys(ca: Path) -> VaultKeys:
            token = token_file(tmp_path)
            return VaultKeys(vault.address, token, mount="secret", path="lpmos/keys", ca=ca)

        assert (await keys(authority.ca).read()).key_ids
        with pytest.raises(SettingsError, match="certificate verify failed"):
            await keys(stranger.ca).read()
