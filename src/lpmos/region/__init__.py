"""The regional client: DHCP and TFTP, HTTP boot, the agent API, and the region's own liveness.

It is the only part that talks to agents, and it knows the fleet only through the store.
"""
