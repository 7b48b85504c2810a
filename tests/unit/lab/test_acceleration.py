"""The probe's boot sector."""

from lpmos.lab.acceleration import probe_boot_sector, translator


def test_probe_boot_sector_is_one_that_a_bios_boots() -> None:
    sector = probe_boot_sector()
    assert len(sector) == 512
    assert sector[-2:] == b"\x55\xaa"


def test_probe_boot_sector_counts_writes_the_exit_value_then_halts_in_a_loop() -> None:
    # mov ecx, 100000000; loop to itself; mov dx, 0xf4; mov al, 0x2a; out dx, al; hlt; jmp to hlt
    count = bytes.fromhex("66b9 00e1f505 67e2fd")
    assert probe_boot_sector().startswith(count + bytes.fromhex("baf400 b02a ee f4 ebfd"))


def test_guests_of_the_translator_do_not_look_for_a_timer_that_may_come_late() -> None:
    assert translator("test").kernel_arguments == "no_timer_check"
