"""The store's backend on an etcd cluster: a thin client of our own over gRPC.

store        EtcdStore, which joins the rest
kv           keys: get, range, put, delete, transactions
watch        watching, over the bounded queue of `backlog`
lease        leases and their keep-alive
election     leaders
maintenance  status, compaction, snapshot
client       failover between endpoints, tokens, background tasks
endpoint     channels to one member
errors       what a failed call means
codec        values to messages and back
wire         the messages and calls of etcd's API, as a table
"""

from lpmos.store.etcd.store import EtcdStore

__all__ = ["EtcdStore"]
