"""The operators' own templates of answer files, as a region reads them from the store (I8).

The rule: where an operator has replaced a template, nothing is installed by the package's own one:
while the store is away only what was read of it before is used, and what was never read is not
known to be missing.
"""

from lpmos.model.template import Template
from lpmos.store import keys, records
from lpmos.store.api import Store, StoreError, Unavailable


class InstallerTemplates:
    """Reads templates; keeps what it read last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, str | None] = {}

    async def content(self, name: str) -> str | None:
        """The newest text of a template; None where the package's own one counts.

        Raises:
            Unavailable: the store is away, and this was not read yet.
            DamagedRecord: what stands there is no template.
        """
        try:
            kv = await self._store.get(keys.template(name))
        except StoreError as error:
            if name not in self._known:
                raise Unavailable(f"the template {name} cannot be read now: {error}") from error
            return self._known[name]
        self._known[name] = records.decode(kv, Template).content if kv else None
        return self._known[name]
