"""The key file: its form, who may read it, and changes that never lose a key."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.app.keyring import FileKeys, parse, provider_from, written
from lpmos.app.settings import load
from lpmos.core.secrets.keyring import KeyRing
from lpmos.model.errors import SettingsError

ONE = "a3VrdWt1a3VrdWt1a3VrdWt1a3VrdWt1a3VrdWt1a3U="
RINGS = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    min_size=1,
    max_size=5,
)


@given(keys=RINGS)
def test_written_ring_is_parsed_back_in_order(keys: dict[str, bytes]) -> None:
    ring = KeyRing(keys, "here")
    assert parse(written(ring), "here").items() == ring.items()


@given(text=st.text(max_size=300))
def test_any_text_is_a_ring_or_a_settings_error(text: str) -> None:
    with suppress(SettingsError):
        parse(text, "here")


def test_comments_and_empty_lines_are_left_out() -> None:
    ring = parse(f"# made by hand\n\n  first {ONE}  # the first\n", "here")
    assert ring.key_ids == ("first",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "0 keys"),
        (f"first {ONE}\nfirst {ONE}", "line 2 has an id that was there before"),
        ("first", "line 1 is not"),
        (f"first {ONE} more", "line 1 is not"),
        ("first !!!calvin!!!", "line 1 is not"),
        ("first a2V5", "has 3 bytes"),
    ],
)
def test_wrong_text_is_refused_without_saying_it_again(text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        parse(text, "here")
    assert "calvin" not in str(refused.value)
    assert ONE not in str(refused.value)


async def test_missing_file_is_made_with_one_key_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secrets.key"
    ring = await FileKeys(path, make=True).read()
    assert len(ring.key_ids) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await FileKeys(path, make=True).read()).items() == ring.items()
    assert [each.name for each in path.parent.iterdir()] == ["secrets.key"]


async def test_missing_file_that_was_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        await FileKeys(tmp_path / "secrets.key", make=False).read()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
async def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secrets.key"
    path.write_text(f"first {ONE}\n")
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        await FileKeys(path, make=True).read()


async def test_added_and_removed_keys_are_in_the_file(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "secrets.key", make=True)
    first = (await keys.read()).oldest
    assert (await keys.add("second", b"2" * 32)).newest == "second"
    assert (await keys.remove(first)).key_ids == ("second",)
    assert (await keys.read()).key_ids == ("second",)
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600


def test_new_key_is_the_newest_in_the_file(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "secrets.key", make=True)
    first = keys.read_now().oldest
    added = keys.add_new()
    assert keys.read_now().key_ids == (first, added)


async def test_keys_added_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    await FileKeys(path, make=True).read()
    adders = [FileKeys(path, make=True).add(f"k{n}", bytes([n]) * 32) for n in range(8)]
    await asyncio.gather(*adders)
    assert len((await FileKeys(path, make=True).read()).key_ids) == 9


async def test_last_key_is_not_taken_away(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "secrets.key", make=True)
    with pytest.raises(SettingsError, match="0 keys"):
        await keys.remove((await keys.read()).oldest)
    assert (await keys.read()).key_ids


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"vault_addr": "https://v:8200"}, "needs --vault-token-file"),
        ({"vault_addr": "https://v:8200", "secrets_key_file": "/k"}, "give one"),
    ],
)
def test_provider_needs_one_whole_choice(
    flags: dict[str, str | None], problem: str, tmp_path: Path
) -> None:
    (tmp_path / "none.toml").touch()
    settings = load("control-plane", flags, {}, tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=problem):
        provider_from(settings)
