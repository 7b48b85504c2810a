"""The inventory of the machine that runs the tests: whatever it is, it is in the model's shape."""

import io

import msgspec

from lpmos.agent.console import Console
from lpmos.agent.machine import RealMachine
from lpmos.agent.options import Options
from lpmos.agent.stop import Stop
from lpmos.model.inventory import Inventory


def test_inventory_of_this_machine_is_the_models() -> None:
    machine = RealMachine(Options("http://region"), Console(io.StringIO()), Stop())
    found = msgspec.convert(machine.inventory(), Inventory)
    assert found.memory.total_bytes > 1 << 20
    assert found.cpu.threads >= 1
