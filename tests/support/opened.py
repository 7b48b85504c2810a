"""What tests start and end: open for the length of an `async with`, and closed with it."""

from abc import ABC, abstractmethod
from typing import Self


class Opened(ABC):
    """Started at the begin of its block, closed at the end, and also where the start fails."""

    @abstractmethod
    async def start(self) -> None:
        """Begin, and wait until it can be used."""

    @abstractmethod
    async def close(self) -> None:
        """End all that was begun; nothing happens where nothing was."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
