"""A network as the target's own system reads it: one module per system, all from one `Layout`.

The rule: a module only writes down what `lpmos.model.network` has checked; it decides nothing, so
that the same task gives the same network on every system. A new system is a module and a row here.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from lpmos.install.network import ifupdown, netplan, networkd, networkmanager
from lpmos.model.installplan import PlannedFile
from lpmos.model.network import Layout

RENDERERS: Mapping[str, Callable[[Layout], tuple[PlannedFile, ...]]] = MappingProxyType(
    {
        "systemd-networkd": networkd.files,
        "netplan": netplan.files,
        "networkmanager": networkmanager.files,
        "ifupdown": ifupdown.files,
    }
)
