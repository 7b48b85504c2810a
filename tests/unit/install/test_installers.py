"""The kernel lines of the distributions' installers: whose words end them, and which stay."""

import msgspec
import pytest

from lpmos.install.answers import FAMILIES, rhel, samples
from lpmos.install.answers.order import order_of
from lpmos.install.installers import plan_handover
from lpmos.model.errors import InvalidInput
from lpmos.model.installer import Family
from lpmos.model.kernelline import parse_kernel_arguments, parse_region_arguments
from lpmos.model.task import Intent
from tests.support.answers import SECRETS, SHELL_FAMILIES, answer_task, appended_by_kickstart

REGION = "console=ttyS2,115200n8 nomodeset"
CONSOLE = "console=tty0 console=ttyS0,115200n8"
PRESERVED = ("nomodeset", "pci", "net.ifnames")
"""Some of what Anaconda's `preserved_arguments` have (data/anaconda.conf)."""


def line_of(family: Family, arguments: str = "", region: str = "") -> str:
    """The installer's own line, for a task with these arguments."""
    task = answer_task(kernel_arguments=arguments, hostname="web-1.example.org")
    of = FAMILIES[family]
    plan = plan_handover(
        msgspec.structs.replace(task, intent=Intent(intent_id="i-1")),
        samples.manifest_of(of, *of.releases[-1]),
        seed_url="http://192.0.2.1:8081/installer/TOKEN",
        mirror_url="http://192.0.2.1:8081/mirror/x",
        media_url="http://192.0.2.1:8081/media/x.iso",
        kernel_arguments=region,
    )
    assert plan.installer is not None
    return plan.installer.kernel_arguments


def installed_by_anaconda(arguments: str, region: str = "") -> list[str]:
    """The words of the system's line, as Anaconda puts them together from both that it is given.

    Source: pyanaconda/modules/storage/bootloader: `BootLoaderArguments.add` moves an equal word to
    the end; `collect_arguments` adds kickstart's, then those that it preserves;
    `GRUB2.write_config_console` the last `console=` of its own line.
    """
    own = dict(word.partition("=")[::2] for word in line_of("rhel", arguments, region).split())
    of = FAMILIES["rhel"]
    manifest = samples.manifest_of(of, *of.releases[-1])
    task = answer_task(kernel_arguments=arguments)
    words = appended_by_kickstart(rhel.disks(order_of(task, manifest, samples.URLS, SECRETS)))
    kept = [f"{name}={own[name]}".rstrip("=") for name in PRESERVED if name in own]
    for word in (*kept, f"console={own['console']}"):
        words = [*(each for each in words if each != word), word]
    return words


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_regions_words_end_an_installers_line_after_its_own_console(family: Family) -> None:
    assert line_of(family).endswith(f" {CONSOLE}")
    assert line_of(family, region=REGION).endswith(f" {CONSOLE} {REGION}")
    assert line_of(family, "hugepages=16", REGION).endswith(f" {CONSOLE} {REGION}")


def test_console_of_a_task_is_that_of_the_system_that_anaconda_installs() -> None:
    arguments = "console=ttyS2,57600 console=ttyS1,57600 hugepages=16"
    assert line_of("rhel", arguments, REGION).endswith(f" {REGION} console=ttyS1,57600")
    for region in ("", REGION):
        words = installed_by_anaconda(arguments, region)
        assert words[-1] == "console=ttyS1,57600"
        assert {*CONSOLE.split(), *arguments.split()} <= set(words)


def test_regions_console_is_that_of_the_system_by_anaconda_where_the_task_names_none() -> None:
    assert installed_by_anaconda("hugepages=16")[-1] == "console=ttyS0,115200n8"
    words = installed_by_anaconda("hugepages=16", REGION)
    assert words[-2:] == ["nomodeset", "console=ttyS2,115200n8"]


@pytest.mark.parametrize("family", SHELL_FAMILIES)
def test_region_cannot_say_again_what_an_installers_line_says(family: Family) -> None:
    names = {word.partition("=")[0] for word in line_of(family).split()} - {"console", "BOOTIF"}
    assert len(names) > 4
    for name in names:
        with pytest.raises(InvalidInput, match=f"kernel_arguments: {name} is set by LPMOS itself"):
            parse_region_arguments(f"quiet {name}=other")


@pytest.mark.parametrize("word", ["ks=http://x/", "AutoYaST=http://x/", "preseed/url=x", "ip=dhcp"])
def test_installers_words_by_another_name_are_refused_for_a_region_alone(word: str) -> None:
    with pytest.raises(InvalidInput, match="is set by LPMOS itself"):
        parse_region_arguments(word)
    assert parse_kernel_arguments(word) == word


@pytest.mark.parametrize("word", ["root=/dev/sda1", "a;b"])
def test_what_no_task_may_say_no_region_may(word: str) -> None:
    with pytest.raises(InvalidInput):
        parse_region_arguments(word)


def test_word_that_begins_as_an_installers_does_is_the_regions() -> None:
    words = "ipv6.disable=1 autoneg=off inst.ks.sendmac install_x=1 nomodeset console=ttyS1"
    assert parse_region_arguments(words) == words
