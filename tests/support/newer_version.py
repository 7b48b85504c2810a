"""What a newer version would have written into a document: a member that this one does not know."""

import msgspec

from lpmos.store.api import Store

_MEMBER = {"newer_version": {"knows": 1}}


async def write_as_newer(store: Store, key: str) -> None:
    """Add the member to the document that stands there."""
    kv = await store.get(key)
    assert kv is not None
    await store.put(key, msgspec.json.encode(msgspec.json.decode(kv.value) | _MEMBER))


async def is_kept(store: Store, key: str) -> bool:
    """Whether the member is in the document now."""
    kv = await store.get(key)
    assert kv is not None
    document = msgspec.json.decode(kv.value, type=dict[str, object])
    return _MEMBER.items() <= document.items()
