"""What a store says of the room that it takes."""

from tests.support.polling import until
from tests.support.stores import Backend


async def test_status_tells_what_of_its_size_is_in_use(backend: Backend) -> None:
    await backend.store.put(backend.prefix + "a", bytes(100_000))

    async def known() -> bool:  # etcd writes its file some 100 ms later
        return (await backend.store.status()).in_use_bytes > 100_000

    await until(known)
    status = await backend.store.status()
    assert status.in_use_bytes <= status.size_bytes
