"""Applications of control planes, used by one control plane after another.

To make one takes longer than most of the tests in which it serves: Litestar looks at the signature
of every call. It is made by `create_app` as any, over services that stand for whichever it serves
now; two that serve at the same time have one each.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from litestar import Litestar

from lpmos.control.app import create_app
from lpmos.control.resources.task_answers import STATE
from lpmos.control.services import Services

_free: list["_Application"] = []


class _Part:
    """Stands for a part of the services that its application serves now."""

    def __init__(self, owner: "_Standing", name: str) -> None:
        self.__dict__.update(_owner=owner, _name=name)

    def _now(self) -> Any:
        return getattr(self._owner.services, self._name)

    @property  # type: ignore[misc]  # it passes for what it stands for
    def __class__(self) -> type:
        return type(self._now())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._now(), name)
        return _late(self, name, found) if inspect.ismethod(found) else found


class _CalledPart(_Part):
    """One that is itself called."""

    async def __call__(self, *given: Any) -> None:
        await self._now()(*given)


class _Standing:
    """Stands for the services of one control plane after another."""

    services: Services | None = None

    def __getattr__(self, name: str) -> _Part:
        return (_CalledPart if callable(getattr(self.services, name)) else _Part)(self, name)


class _Application:
    """An application, and what stands for its services."""

    def __init__(self, services: Services) -> None:
        self.standing = _Standing()
        self.standing.services = services
        self.app = create_app(cast(Services, self.standing))


@contextmanager
def application(services: Services) -> Iterator[Litestar]:
    """The application over these services, until the block ends; it has been served by then."""
    made = _free.pop() if _free else _Application(services)
    made.standing.services = services
    made.app.state[STATE] = services.task_answers
    yield made.app
    _free.append(made)


def _late(part: _Part, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of whatever `part` stands for when it is called."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def call_async(*given: Any, **named: Any) -> Any:
            return await getattr(part._now(), name)(*given, **named)

        return call_async

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        return getattr(part._now(), name)(*given, **named)

    return call
