"""How a long build tells its caller where it is."""

from collections.abc import Callable

Progress = Callable[[str, float, str], None]
"""`progress(step, fraction, message)`: the step's name, how much of the *whole* build is done
(0 to 1, never falling), and a line for a person."""


def silent(step: str, fraction: float, message: str) -> None:
    """A progress callback that shows nothing."""


def within(progress: Progress, first: float, last: float) -> Progress:
    """A callback whose 0 to 1 is the stretch from `first` to `last` of another one."""

    def scaled(step: str, fraction: float, message: str) -> None:
        progress(step, first + (last - first) * min(max(fraction, 0.0), 1.0), message)

    return scaled
