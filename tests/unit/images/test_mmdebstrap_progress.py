"""Progress from what mmdebstrap prints: recorded lines, and any others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.images.mmdebstrap_progress import MmdebstrapProgress

RECORDED = """\
I: running --setup-hook directly: /usr/share/mmdebstrap/hooks/merged-usr/setup00.sh
Unpacking usr-is-merged (35) ...
I: running apt-get update...
Get:4 http://mirror.example/debian bookworm/main amd64 Packages [8790 kB]
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://mirror.example/debian bookworm/main amd64 gcc-12-base amd64 12.2.0 [37.6 kB]
I: extracting archives...
I: installing essential packages...
Unpacking gcc-12-base:amd64 (12.2.0-14+deb12u1) ...
Setting up gcc-12-base:amd64 (12.2.0-14+deb12u1) ...
I: installing remaining packages inside the chroot...
1 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
0 upgraded, 4 newly installed, 0 to remove and 0 not upgraded.
Get:2 http://mirror.example/debian bookworm/main amd64 udev amd64 252.39 [1,000 kB]
Unpacking udev (252.39-1~deb12u2) ...
Setting up udev (252.39-1~deb12u2) ...
update-initramfs: Generating /boot/initrd.img-6.1.0-56-amd64
I: cleaning package lists and apt cache...
I: success in 60.0000 seconds
"""


def test_feed_of_a_whole_run_rises_and_names_what_is_done() -> None:
    reader = MmdebstrapProgress()
    said = [item for line in RECORDED.splitlines() if (item := reader.feed(line)) is not None]
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert [message for _, message in said] == [
        "reading the package lists",
        "fetching the essential packages",
        "fetching gcc-12-base",
        "unpacking the essential packages",
        "installing the essential packages",
        "unpacking gcc-12-base",
        "setting up gcc-12-base",
        "installing packages",
        "fetching udev",
        "unpacking udev",
        "setting up udev",
        "making the initrd",
        "removing package lists",
    ]


@settings(max_examples=40)
@given(st.lists(st.one_of(st.sampled_from(RECORDED.splitlines()), st.text(max_size=60))))
def test_feed_of_any_lines_stays_between_nothing_and_all(lines: list[str]) -> None:
    reader = MmdebstrapProgress()
    for line in lines:
        said = reader.feed(line)
        assert said is None or 0.0 <= said[0] <= 1.0
