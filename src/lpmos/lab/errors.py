"""What can go wrong in the lab.

LabError
├── RackUnavailable    this machine cannot hold a virtual rack; the text says what is missing
├── ProcessFailed      a program of the lab ended or answered wrongly
├── MachinePowerError  a virtual machine cannot do this in its present power state
├── WaitTimedOut       something did not happen in its time
├── ApiRefused         the control plane answered a call with an error
└── EvidenceMissing    a disk does not hold what was looked for
"""

from lpmos.model.errors import LpmosError


class LabError(LpmosError):
    """The root of the lab's errors."""

    code = "lab-error"


class RackUnavailable(LabError):
    """This machine cannot hold a virtual rack; the text says what is missing and how to get it."""

    code = "lab-rack-unavailable"


class ProcessFailed(LabError):
    """A program of the lab ended or answered wrongly."""

    code = "lab-process-failed"


class MachinePowerError(LabError):
    """A virtual machine cannot do this in its present power state."""

    code = "lab-machine-power"


class WaitTimedOut(LabError):
    """Something did not happen in its time; the text holds what was seen last."""

    code = "lab-wait-timed-out"


class ApiRefused(LabError):
    """The control plane answered a call with an error; `status` is the HTTP status."""

    code = "lab-api-refused"

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class EvidenceMissing(LabError):
    """A disk does not hold what was looked for."""

    code = "lab-evidence-missing"
