"""What each step of a job does on the machine that the agent runs on."""

from collections.abc import Callable, Mapping

from lpmos.agent import diskerase, memorytest, rescue
from lpmos.agent.commands import Commands
from lpmos.agent.disktest import DiskTester
from lpmos.agent.inventory import Inventory
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.joborder import JobOrder
from lpmos.agent.jobs import EVIDENCE_LINES, Outcome, Step
from lpmos.agent.summary import summary_lines


def steps(
    order: JobOrder,
    job: Job,
    tree: Tree,
    take_inventory: Callable[[], Inventory],
) -> Mapping[str, Step]:
    """The steps by name; `take_inventory` looks once more, and reports."""
    commands = Commands(job.stop, job.console.info)
    return {
        "memory_test": lambda planned, bench: memorytest.run(planned, bench, tree),
        "disk_test": lambda planned, bench: DiskTester(planned, bench, tree, commands).run(),
        "disk_erase": lambda planned, bench: diskerase.run(planned, bench, tree, commands),
        "inventory": lambda _, __: inventory_outcome(take_inventory()),
        "rescue": lambda planned, bench: rescue.run(planned, bench, tree, order.ssh_keys),
    }


def inventory_outcome(found: Inventory) -> Outcome:
    """What was found, in short."""
    lines = summary_lines(found)
    return Outcome("reported", tuple(lines[:EVIDENCE_LINES]))
