"""Which package sources an image is built from."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.images.apt_sources import (
    DEBIAN_KEYRING,
    AptSource,
    debian_sources,
    machine_sources,
    parse_deb822,
    parse_one_line,
)
from lpmos.model.errors import ImageError

ARCHIVE = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"
DEB822 = f"""\
# the archive
Types: deb deb-src
URIs: {ARCHIVE}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {SECURITY}
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://disabled.example
Suites: bookworm
Components: main
"""


def test_parse_deb822_reads_stanzas_with_their_options() -> None:
    archive, security = parse_deb822(DEB822)
    assert archive == AptSource(
        uris=(ARCHIVE,),
        suites=("bookworm", "bookworm-updates"),
        components=("main", "contrib"),
        options=(("Signed-By", "/usr/share/keyrings/debian-archive-keyring.gpg"),),
    )
    assert dict(security.options)["Signed-By"].count("\n") == 4


def test_parse_one_line_reads_options_under_their_deb822_names() -> None:
    text = (
        f"deb [arch=amd64 signed-by=/k.gpg trusted=yes] {ARCHIVE} bookworm main contrib # note\n"
        f"deb-src {ARCHIVE} bookworm main\n# deb http://no.example bookworm main\n"
    )
    (source,) = parse_one_line(text)
    assert source.components == ("main", "contrib")
    assert source.options == (
        ("Architectures", "amd64"),
        ("Signed-By", "/k.gpg"),
        ("Trusted", "yes"),
    )


def test_debian_sources_take_only_the_release_and_main(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "debian.sources").write_text(DEB822)
    (parts / "other.list").write_text("deb http://third.example/apt stable main\n")
    found = debian_sources("bookworm", apt_directory=tmp_path)
    assert [source.uris for source in found] == [(ARCHIVE,), (SECURITY,)]
    assert {source.components for source in found} == {("main",)}


def test_debian_sources_of_another_system_say_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb http://ubuntu.example/ubuntu jammy main universe\n"
        "deb http://ubuntu.example/ubuntu jammy-security main\n"
    )
    with pytest.raises(ImageError, match="set LPMOS_MIRROR=<URL of a Debian mirror>") as raised:
        debian_sources("bookworm", apt_directory=tmp_path)
    assert "debian-archive-keyring" in str(raised.value)


TRIXIE = f"""\
Types: deb
URIs: {ARCHIVE}
Suites: trixie trixie-updates trixie-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: {SECURITY}
Suites: trixie-security
Components: main
Trusted: yes

Types: deb
URIs: http://third.example/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/third.gpg
"""


@pytest.mark.parametrize(
    "sources",
    [
        {"debian.sources": TRIXIE},
        {
            "old.list": f"deb {ARCHIVE} buster main\ndeb {ARCHIVE} buster-updates main\n"
            f"deb {SECURITY} buster/updates main\n"
        },
        {"x.list": f"deb {ARCHIVE} sid main\ndeb {SECURITY} stable-security main\n"},
    ],
)
def test_debian_sources_on_another_release_are_of_the_same_mirrors(
    sources: dict[str, str], tmp_path: Path
) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, text in sources.items():
        (parts / name).write_text(text)
    found = debian_sources("bookworm", apt_directory=tmp_path)
    suites = [(source.uris, suite) for source in found for suite in source.suites]
    assert ((ARCHIVE,), "bookworm") in suites
    assert ((SECURITY,), "bookworm-security") in suites
    assert {uris for uris, _ in suites} == {(ARCHIVE,), (SECURITY,)}
    assert {suite for _, suite in suites} <= {"bookworm", "bookworm-updates", "bookworm-security"}
    assert {source.options for source in found} == {(("Signed-By", DEBIAN_KEYRING),)}


def test_debian_sources_prefer_entries_of_the_release_itself(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        f"deb http://new.example/debian trixie main\ndeb {ARCHIVE} bookworm main\n"
    )
    (found,) = debian_sources("bookworm", apt_directory=tmp_path)
    assert found.uris == (ARCHIVE,)


def test_debian_sources_with_only_security_are_not_enough(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(f"deb {SECURITY} bookworm-security main\n")
    with pytest.raises(ImageError, match="have no Debian bookworm"):
        debian_sources("bookworm", apt_directory=tmp_path)


def test_debian_sources_of_a_mirror_are_signed(tmp_path: Path) -> None:
    archive, security = debian_sources("bookworm", mirror=f"{ARCHIVE} {SECURITY}")
    assert archive.suites == ("bookworm", "bookworm-updates")
    assert security.suites == ("bookworm-security",)
    assert all("Signed-By" in dict(source.options) for source in (archive, security))


@pytest.mark.parametrize("mirror", ["", "a b c"])
def test_debian_sources_of_a_wrong_mirror_are_refused(mirror: str) -> None:
    with pytest.raises(ImageError, match="LPMOS_MIRROR must be one URL"):
        debian_sources("bookworm", mirror=mirror)


def test_machine_sources_of_an_empty_directory_are_none(tmp_path: Path) -> None:
    assert list(machine_sources(tmp_path)) == []


WORDS = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
SOURCES = st.builds(
    AptSource,
    uris=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    suites=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    components=st.lists(WORDS, max_size=3).map(tuple),
    options=st.dictionaries(WORDS.map(lambda w: f"X-{w}"), WORDS, max_size=3).map(
        lambda options: tuple(options.items())
    ),
)


@settings(max_examples=40)
@given(st.lists(SOURCES, max_size=4))
def test_stanzas_read_back_give_the_same_sources(sources: list[AptSource]) -> None:
    text = "\n".join(source.stanza() for source in sources)
    assert list(parse_deb822(text)) == sources


@given(st.text(max_size=300))
def test_parsing_anything_raises_nothing(text: str) -> None:
    for source in (*parse_deb822(text), *parse_one_line(text)):
        assert source.uris
        assert source.suites
