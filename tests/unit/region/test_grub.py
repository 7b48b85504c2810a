"""GRUB's words: what a machine with Secure Boot is told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region import grub
from lpmos.region.scripts import AgentCall, AgentFiles, InstallerFiles

BASE = "http://10.78.0.1:8081"
FILES = AgentFiles(kernel="/boot/agent/aa/vmlinuz", initramfs="/boot/agent/bb/initramfs")
CALL = AgentCall(BASE, "nonce-1")


def test_agent_script_names_region_nonce_and_card() -> None:
    text = grub.agent_script(BASE, FILES, CALL, "boot")
    line = next(line for line in text.splitlines() if line.startswith("if linux "))
    assert f'"$region{FILES.kernel}"' in line
    assert f"lpmos_client={BASE} lpmos_nonce=nonce-1" in line
    assert "BOOTIF=01-$card" in line
    assert f'initrd "$region{FILES.initramfs}"' in text
    assert "initrd=" not in line  # GRUB hands it over itself


def test_agent_script_ends_its_kernel_line_with_the_regions_words() -> None:
    files = AgentFiles(kernel="/k", initramfs="/i", arguments="console=ttyS1,115200n8 memmap=1G!4G")
    text = grub.agent_script(BASE, files, CALL, "boot")
    assert " BOOTIF=01-$card console=ttyS1,115200n8 'memmap=1G!4G'; then\n" in text


def test_agent_script_with_tls_names_the_ca_and_where_it_is_to_be_had() -> None:
    call = AgentCall("https://10.78.0.1:8444", "n", "ab" * 32)
    text = grub.agent_script(BASE, FILES, call, "boot")
    assert f"lpmos_ca=sha256:{'ab' * 32} lpmos_boot={BASE}" in text


def test_local_disk_script_starts_a_loader_and_never_leaves_to_the_firmware() -> None:
    text = grub.local_disk_script("task t is completed")
    assert "LPMOS: booting the local disk: task t is completed" in text
    assert f"for loader in {grub.FALLBACK} /EFI/debian/shimx64.efi " in text
    assert "chainloader $loader; then" in text
    assert "exit" not in text


def test_local_disk_script_looks_for_the_disk_that_the_task_installed_first() -> None:
    text = grub.local_disk_script("task t-1 is completed", "t-1")
    own, others = text.split("for loader in ")
    assert "if search --no-floppy --file --set=root /EFI/lpmos/t-1; then" in own
    assert f"if chainloader {grub.FALLBACK}; then" in own
    assert others in grub.local_disk_script("task t-1 is completed")
    assert grub.local_disk_script("r", "a b") == grub.local_disk_script("r")


def test_installer_script_keeps_a_kernel_line_with_a_semicolon_in_one_command() -> None:
    files = InstallerFiles(kernel="/k", initrd="/i", line="auto ds=nocloud;s=http://x/ quiet")
    text = grub.installer_script(BASE, files, "go")
    assert "auto 'ds=nocloud;s=http://x/' quiet" in text


@pytest.mark.parametrize(("asked_s", "pause_s"), [(2, 0), (5, 0), (30, 25)])
def test_wait_script_waits_the_rest_of_what_the_entry_script_waits(
    asked_s: int, pause_s: int
) -> None:
    assert grub.wait_script(BASE, "wait", asked_s).endswith(f"sleep {pause_s}\n")


@given(st.text(max_size=300))
def test_any_reason_stays_one_quoted_word(reason: str) -> None:
    for text in (
        grub.agent_script(BASE, FILES, CALL, reason),
        grub.local_disk_script(reason),
        grub.wait_script(BASE, reason, 5),
    ):
        first = text.splitlines()[0]
        assert re.fullmatch(r'echo "[^"$\\]*"', first)
