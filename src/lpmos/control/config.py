"""What an operator can choose about a control plane; `lpmos.app` fills it from the settings."""

import msgspec


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The choices, each with its default."""

    second_person: bool = False
    """Whether a task must be approved by another person than the one who created it."""
