"""A disk layout beside an image that brings its own partitions is refused before anything boots."""

from typing import Any

import msgspec
import pytest

from lpmos.core.creation_checks import check_offered
from lpmos.model.diskplan import StorageLayout
from lpmos.model.errors import InvalidInput
from lpmos.model.image import OfferedOs
from lpmos.model.region import Capabilities
from tests.support.builders import make_capabilities, make_task


def offering(*, whole_disk: bool) -> Capabilities:
    system = OfferedOs(
        os_type="debian",
        os_version="12",
        unpacked_bytes=1,
        methods=("image", "installer"),
        whole_disk=whole_disk,
    )
    return msgspec.structs.replace(make_capabilities(), offered=(system,))


@pytest.mark.parametrize("layout", ["lvm", "raid1", StorageLayout(swap_bytes=1 << 30)])
def test_layout_for_the_image_of_a_whole_disk_is_refused_by_its_field(layout: Any) -> None:
    task = make_task(disk_layout=layout)
    with pytest.raises(InvalidInput) as refused:
        check_offered(task, offering(whole_disk=True), list)
    assert [problem.field for problem in refused.value.problems] == ["disk_layout"]
    assert "leave it at auto" in str(refused.value)


def test_kernel_arguments_for_the_image_of_a_whole_disk_are_refused_by_their_field() -> None:
    task = make_task(kernel_arguments="nomodeset")
    with pytest.raises(InvalidInput) as refused:
        check_offered(task, offering(whole_disk=True), list)
    assert [problem.field for problem in refused.value.problems] == ["kernel_arguments"]
    check_offered(task, offering(whole_disk=False), list)


@pytest.mark.parametrize(
    ("fields", "whole_disk"),
    [
        ({"disk_layout": "auto"}, True),
        ({"disk_layout": StorageLayout(erase="discard")}, True),
        ({"disk_layout": "lvm", "method": "installer"}, True),
        ({"disk_layout": "lvm"}, False),
    ],
)
def test_layout_that_leaves_partitions_to_the_image_or_is_an_archives_is_taken(
    fields: dict[str, Any], whole_disk: bool
) -> None:
    check_offered(make_task(**fields), offering(whole_disk=whole_disk), list)
