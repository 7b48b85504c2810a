"""A simulated fleet: thousands of machines in one process, towards real regions and a real etcd.

`profiles` says what each machine is and what goes wrong with it, `machine` plays one, `site` starts
the servers, `run` puts them together, `invariants` looks whether anything was lost or done twice,
and `report` shows what was measured.
"""
