"""The control plane: REST API, live WebSocket and pages over the fleet in memory.

It keeps nothing of its own that another control plane would miss: any number may run at once.
"""
