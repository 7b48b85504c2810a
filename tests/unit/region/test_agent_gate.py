"""The gate that lets agents in: what it shows before anybody came."""

from typing import cast

from lpmos.core.fleet import Fleet
from lpmos.region.agent_gate import AgentGate
from lpmos.region.identities import REASONS, Identities
from lpmos.region.metrics import Metrics


def test_every_reason_of_a_refusal_is_counted_from_zero_on() -> None:
    metrics = Metrics()
    nobody = cast(Identities, None)
    AgentGate(nobody, Fleet(), metrics, idc="dc1", required=True, tls_port=None)
    text = metrics.text().decode()
    assert REASONS
    for reason in REASONS:
        assert f'lpmos_region_agents_refused_total{{reason="{reason}"}} 0.0' in text
