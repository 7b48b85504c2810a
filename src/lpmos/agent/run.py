"""Putting one agent run together, for the command line and for callers in the same process."""

from lpmos.agent.console import Console
from lpmos.agent.errors import Stopped
from lpmos.agent.hanging import Restart
from lpmos.agent.kernellog import KernelLog
from lpmos.agent.machine import RealMachine
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.session import EXIT_FAILED, EXIT_INSTALLED, EXIT_STOPPED, Session
from lpmos.agent.stop import Stop


def run_agent(
    options: Options,
    console: Console | None = None,
    stop: Stop | None = None,
    pace: Pace | None = None,
    restart: Restart | None = None,
) -> int:
    """Run one agent to its end in this thread and return its exit code.

    Several may run in threads of one process where `options.simulate` is set; `stop` ends a run
    from another thread. A simulated machine goes on until its system came up. `restart` is for a
    real one whose disks hang, where it is the agent's alone.
    """
    console = console or Console()
    stop = stop or Stop()
    pace = pace or Pace()
    if options.simulate:
        # Only a simulation pays for this import; in the RAM image every millisecond counts.
        from lpmos.agent.simulated_boot import booted
        from lpmos.agent.simulation import SimulatedMachine, identity

        sn, mac = identity(options)
        try:
            options = booted(options._replace(sn=sn, mac=mac), console, stop, pace)
        except Stopped as error:
            console.error(f"stopped: {error}")
            return EXIT_STOPPED
        made_up = SimulatedMachine(options)
        ended = Session(options, made_up, console, stop, pace).run()
        if ended != EXIT_INSTALLED or made_up.system is None:
            return ended
        return EXIT_INSTALLED if made_up.system.start(console, stop, pace) else EXIT_FAILED
    machine = RealMachine(options, console, stop, restart)
    kernel = KernelLog(console)
    kernel.start()
    try:
        return Session(options, machine, console, stop, pace).run()
    finally:
        kernel.close()
