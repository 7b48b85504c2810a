"""The audit log: chained by the elected control plane, read by the page."""
