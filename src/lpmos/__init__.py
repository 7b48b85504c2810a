"""LPMOS: bare-metal provisioning, from netboot to an installed machine, in many data centers."""

__version__ = "0.1.0"
