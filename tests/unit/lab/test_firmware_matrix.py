"""The firmware matrix: what its spread covers, and that its page says what ran and no more."""

from itertools import product

from tests.matrix.__main__ import kept_results
from tests.matrix.cells import BUSES, NICS, PRODUCT, SPREAD
from tests.matrix.page import PAGE, page

FULL_KINDS = ("bios", "uefi", "http", "secure")


def test_spread_has_each_pair_that_it_promises() -> None:
    assert set(product(FULL_KINDS, BUSES)) <= {(cell.kind, cell.bus) for cell in SPREAD}
    assert set(product(NICS, BUSES)) <= {(cell.nic, cell.bus) for cell in SPREAD}
    disks = {(cell.kind, cell.disks) for cell in SPREAD}
    assert set(product(FULL_KINDS, ("one", "two", "4k", "lvm"))) <= disks


def test_spread_is_a_part_of_the_product_and_names_are_unique() -> None:
    assert set(SPREAD) <= set(PRODUCT)
    assert len({cell.name for cell in PRODUCT}) == len(PRODUCT)


def test_page_says_what_ran() -> None:
    assert PAGE.read_text() == page(kept_results())
