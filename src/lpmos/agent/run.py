"""Putting one agent run together, for the command line and for callers in the same process."""

from lpmos.agent.console import Console
from lpmos.agent.machine import Machine, RealMachine
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.session import Session
from lpmos.agent.stop import Stop


def run_agent(
    options: Options,
    console: Console | None = None,
    stop: Stop | None = None,
    pace: Pace | None = None,
) -> int:
    """Run one agent to its end in this thread and return its exit code.

    Several may run in threads of one process where `options.simulate` is set; `stop` ends a run
    from another thread.
    """
    console = console or Console()
    stop = stop or Stop()
    machine: Machine
    if options.simulate:
        # Only a simulation pays for this import; in the RAM image every millisecond counts.
        from lpmos.agent.simulation import SimulatedMachine, identity

        sn, mac = identity(options)
        options = options._replace(sn=sn, mac=mac)
        machine = SimulatedMachine(options)
    else:
        machine = RealMachine(options, console, stop)
    return Session(options, machine, console, stop, pace or Pace()).run()
