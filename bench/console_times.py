"""Times off a machine's serial console, whose log has the seconds since power on before each line.

Of several lines that match, the first counts.
"""

import re
from pathlib import Path

_STAMPED = re.compile(r"\s*(\d+\.\d+) ")


def until(console_log: Path, pattern: str) -> float:
    """Seconds from power on to the first line with `pattern`."""
    for line in console_log.read_text().splitlines():
        if (stamp := _STAMPED.match(line)) and re.search(pattern, line):
            return float(stamp[1])
    raise SystemExit(f"no line of {console_log} has {pattern!r}")


def between(console_log: Path, begin: str, end: str) -> float:
    """Seconds from the first line with `begin` to the first line with `end`."""
    return until(console_log, end) - until(console_log, begin)
