"""The boot agent: runs from RAM on the server, reports its hardware, installs what is approved.

The rule: it needs nothing but the standard library and the programs of its RAM image, decides
nothing that a person did not see, and touches no disk before its region granted the claim.
The wire is `docs/reference/agent-protocol.md`.
"""
