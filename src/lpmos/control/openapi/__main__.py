"""`python -m lpmos.control.openapi`: prints the description of the API, to make types from it."""

import sys

import msgspec
from litestar import Litestar
from litestar.di import Provide

from lpmos.control.app import GIVEN, routes
from lpmos.control.openapi.description import described

if __name__ == "__main__":
    dependencies = {name: Provide(lambda: None, sync_to_thread=False) for name in GIVEN}
    app = Litestar(route_handlers=routes(), dependencies=dependencies, openapi_config=None)
    sys.stdout.buffer.write(msgspec.json.encode(described(app.routes, relations=False)))
