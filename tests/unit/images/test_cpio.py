"""The newc writer against a reader of its own."""

import stat

from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.images import cpio
from tests.support.cpio_reader import read_newc

NAMES = st.text(
    st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in {".", "..", cpio.TRAILER})
ENTRIES = st.one_of(
    st.builds(cpio.file, st.binary(max_size=600), executable=st.booleans()),
    st.builds(cpio.symlink, NAMES),
    st.just(cpio.directory()),
    st.builds(cpio.character_device, st.integers(0, 255), st.integers(0, 255), st.just(0o600)),
)


def packed(entries: dict[str, cpio.Entry]) -> bytes:
    return b"".join(cpio.archive(entries))


@settings(max_examples=40)
@given(st.dictionaries(NAMES, ENTRIES, max_size=8))
def test_archive_read_back_gives_every_entry(entries: dict[str, cpio.Entry]) -> None:
    archive = packed(entries)
    members = read_newc(archive)
    assert len(archive) % cpio.BLOCK_BYTES == 0
    assert list(members) == sorted(entries)
    for name, entry in entries.items():
        found = members[name]
        assert (found.mode, found.data, found.device) == (entry.mode, entry.data, entry.device)


def test_archive_from_another_order_is_identical() -> None:
    entries = {"b": cpio.file(b"2"), "a": cpio.file(b"1"), "c": cpio.symlink("a")}
    assert packed(entries) == packed(dict(reversed(entries.items())))


def test_archive_entries_belong_to_root_and_have_one_time() -> None:
    members = read_newc(packed({"d": cpio.directory(), "d/f": cpio.file(b"x", executable=True)}))
    assert {(m.owner, m.group, m.mtime_s) for m in members.values()} == {(0, 0, cpio.FIXED_MTIME_S)}
    assert len({m.number for m in members.values()}) == 2


def test_archive_modes_are_those_of_the_kind() -> None:
    assert cpio.file(b"").mode == stat.S_IFREG | 0o644
    assert cpio.file(b"", executable=True).mode == stat.S_IFREG | 0o755
    assert cpio.symlink("x") == cpio.Entry(stat.S_IFLNK | 0o777, b"x")
    assert stat.S_ISCHR(cpio.character_device(5, 1, 0o600).mode)


def test_archive_of_nothing_is_a_trailer_alone() -> None:
    assert read_newc(packed({})) == {}
