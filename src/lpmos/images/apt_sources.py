"""Where Debian packages come from: the machine's own apt sources, or a mirror that was named.

Only entries that carry the wanted release are used, so that no third party's repository ever
reaches an image; on a Debian of another release, the same mirrors are asked for the wanted one, and
only Debian's own key counts. Format: sources.list(5), both the one-line and the deb822 style.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from lpmos.model.errors import ImageError

APT_DIRECTORY = Path("/etc/apt")
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
COMPONENT = "main"
"""Everything in the images is in this component, which is free software, but for firmware files."""
FIRMWARE_COMPONENT = "non-free-firmware"
"""What drivers load into devices and Debian may only pass on, not change."""

_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>\S.*)$")
_DEBIAN_SUITE = re.compile(
    r"(?:buster|bullseye|bookworm|trixie|forky|duke|sid|(?:old){0,2}stable|testing|unstable)"
    r"(?P<pocket>-updates|-security|/updates)?"
)
_POCKETS = {"": "", "-updates": "-updates", "-security": "-security", "/updates": "-security"}
_OPTION_NAMES = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}


class AptSource(msgspec.Struct, frozen=True, kw_only=True):
    """One source of packages; `options` are its further deb822 fields, such as `Signed-By`."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def stanza(self) -> str:
        """This source in the deb822 style."""
        fields = [
            ("Types", "deb"),
            ("URIs", " ".join(self.uris)),
            ("Suites", " ".join(self.suites)),
            ("Components", " ".join(self.components)),
            *self.options,
        ]
        return "".join(f"{name}: {value}\n" for name, value in fields)


def debian_sources(
    suite: str, *, mirror: str | None = None, apt_directory: Path = APT_DIRECTORY
) -> tuple[AptSource, ...]:
    """The sources for a Debian release such as `bookworm`.

    Args:
        suite: the release's code name.
        mirror: one URL, or two separated by a space (the archive, then its security archive); None
            reads the machine's own sources.
        apt_directory: where apt's configuration is.

    Raises:
        ImageError: the machine's sources are not Debian's; says what to set.
    """
    if mirror is not None:
        return _mirror_sources(suite, mirror.split())
    machine = tuple(machine_sources(apt_directory))
    for choose in (_only, _of_another_release):
        found = tuple(chosen for source in machine if (chosen := choose(source, suite)))
        if any(suite in source.suites for source in found):
            return found
    raise ImageError(
        f"the apt sources in {apt_directory} have no Debian {suite}: install the package"
        " debian-archive-keyring and set LPMOS_MIRROR=<URL of a Debian mirror>, or"
        " LPMOS_MIRROR='<URL of a Debian mirror> <URL of its security archive>' for the security"
        " updates as well; then run the command again (through sudo: `sudo LPMOS_MIRROR=… lpmos …`)"
    )


def firmware_sources(sources: Sequence[AptSource]) -> tuple[AptSource, ...]:
    """The same archives, asked for firmware alone; whether they have any is not known here."""
    return tuple(
        msgspec.structs.replace(source, components=(FIRMWARE_COMPONENT,)) for source in sources
    )


def machine_sources(apt_directory: Path) -> Iterator[AptSource]:
    """Every enabled binary source that this machine's apt reads, in apt's order."""
    parts = apt_directory / "sources.list.d"
    files = [apt_directory / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else ())]
    for path in files:
        if path.suffix == ".list" and path.is_file():
            yield from parse_one_line(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            yield from parse_deb822(path.read_text(errors="replace"))


def parse_one_line(text: str) -> Iterator[AptSource]:
    """The `deb` lines of a `.list` file; anything else in it is passed over."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match is None:
            continue
        uri, *names = match["rest"].split()
        if not names:
            continue
        yield AptSource(
            uris=(uri,),
            suites=(names[0],),
            components=tuple(names[1:]),
            options=tuple(_one_line_options(match["options"] or "")),
        )


def parse_deb822(text: str) -> Iterator[AptSource]:
    """The enabled binary stanzas of a `.sources` file; an incomplete one is passed over."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza.splitlines())
        lowered = {name.lower(): value for name, value in fields.items()}
        enabled = lowered.get("enabled", "yes").lower() not in {"no", "false", "0", "off"}
        if not enabled or "deb" not in lowered.get("types", "").split():
            continue
        uris, suites = lowered.get("uris", "").split(), lowered.get("suites", "").split()
        if not uris or not suites:
            continue
        known = {"types", "uris", "suites", "components", "enabled"}
        yield AptSource(
            uris=tuple(uris),
            suites=tuple(suites),
            components=tuple(lowered.get("components", "").split()),
            options=tuple(
                (name, value) for name, value in fields.items() if name.lower() not in known
            ),
        )


def _mirror_sources(suite: str, urls: list[str]) -> tuple[AptSource, ...]:
    if len(urls) not in {1, 2}:
        raise ImageError(
            "LPMOS_MIRROR must be one URL, or two separated by a space: the archive and its"
            f" security archive; it has {len(urls)} words"
        )
    signed_by = (("Signed-By", DEBIAN_KEYRING),)
    suites = ((suite, f"{suite}-updates"), (f"{suite}-security",))
    return tuple(
        AptSource(uris=(url,), suites=names, components=(COMPONENT,), options=signed_by)
        for url, names in zip(urls, suites, strict=False)
    )


def _only(source: AptSource, suite: str) -> AptSource | None:
    """What of this source belongs to the release, or None."""
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    suites = tuple(name for name in source.suites if name in wanted)
    if not suites or COMPONENT not in source.components:
        return None
    return msgspec.structs.replace(source, suites=suites, components=(COMPONENT,))


def _of_another_release(source: AptSource, suite: str) -> AptSource | None:
    """The same mirror's entry for the wanted release, where this is Debian's own entry.

    A mirror of Debian has every release that is supported. Packages from here count only with a
    signature by Debian's key, whatever the machine trusts for this entry.
    """
    matches = [match for name in source.suites if (match := _DEBIAN_SUITE.fullmatch(name))]
    if not matches or COMPONENT not in source.components or _is_signed_by_another(source):
        return None
    pockets = {_POCKETS[match["pocket"] or ""] for match in matches}
    return AptSource(
        uris=source.uris,
        suites=tuple(f"{suite}{pocket}" for pocket in sorted(pockets)),
        components=(COMPONENT,),
        options=(("Signed-By", DEBIAN_KEYRING),),
    )


def _is_signed_by_another(source: AptSource) -> bool:
    """Whether the entry names a key file that is not Debian's: a third party's repository."""
    keys = [value for name, value in source.options if name.lower() == "signed-by"]
    files = [word for value in keys for word in value.split() if word.startswith("/")]
    return any("debian-archive" not in Path(file).name for file in files)


def _one_line_options(text: str) -> Iterator[tuple[str, str]]:
    for option in text.split():
        name, equals, value = option.partition("=")
        if equals:
            yield _OPTION_NAMES.get(name, "-".join(map(str.title, name.split("-")))), value


def _fields(lines: Iterable[str]) -> Mapping[str, str]:
    """The fields of one stanza; a continued value keeps its lines, as an inline key needs them."""
    fields: dict[str, str] = {}
    name = None
    for line in lines:
        if line.startswith("#"):
            continue
        if line[:1] in {" ", "\t"}:
            if name is not None:
                fields[name] += f"\n{line}"
            continue
        name, colon, value = line.partition(":")
        name = name.strip()
        if colon and name:
            fields[name] = value.strip()
        else:
            name = None
    return fields
