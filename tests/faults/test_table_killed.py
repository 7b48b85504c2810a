"""Every part killed at every step of the lifecycle, over an etcd of three members.

One machine stands at each step when a fault comes; so one kill is a whole row of the table.
"""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.support.fault_group import KILLED, Fault, Rows
from tests.support.fault_site import cluster_site
from tests.support.fault_table import STEPS

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rows(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rows]:
    async with cluster_site(tmp_path_factory.mktemp("site")) as site:
        yield Rows(site)
        await site.check_audit_chain()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", KILLED, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_fault_at_a_step_loses_and_doubles_no_install(
    rows: Rows, fault: type[Fault], step: str, record_property: Callable[[str, object], None]
) -> None:
    cell = await rows.cell(fault, step)
    record_property("cell", ("etcd", fault.name, step, cell.outcome))
    assert not cell.wrong
