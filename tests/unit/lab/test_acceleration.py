"""The probe's boot sector."""

from lpmos.lab.acceleration import probe_boot_sector


def test_probe_boot_sector_is_one_that_a_bios_boots() -> None:
    sector = probe_boot_sector()
    assert len(sector) == 512
    assert sector[-2:] == b"\x55\xaa"


def test_probe_boot_sector_writes_the_exit_value_then_halts_in_a_loop() -> None:
    # mov dx, 0xf4; mov al, 0x2a; out dx, al; hlt; jmp to the hlt
    assert probe_boot_sector().startswith(bytes.fromhex("baf400 b02a ee f4 ebfd"))
