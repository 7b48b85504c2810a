"""The calls about the keys that stored secrets are sealed with: how they are used, and rotation.

Neither a key nor a secret is in any answer; a key is known by its id.
"""

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.secrets.rotation import KeyUse, Rotation, SecretKeys
from lpmos.model.access import Permission


class SecretsView(msgspec.Struct, frozen=True, kw_only=True):
    """The keys, by age, with how many sealed values need each; and the last rotation."""

    source: str
    current: str
    keys: list[KeyUse]
    rotation: Rotation | None


class RotationView(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rotation came; it is called again until `done`.

    `failed` names documents whose value does not open; the rotation is done when each was set anew
    or its key was found.
    """

    key_id: str
    done: bool
    rewrapped_now: int
    rewrapped: int
    failed: list[str]


@get("/secrets", responses=PROBLEMS, opt=needs(Permission.SECRETS_ROTATE))
async def show_secrets(secret_keys: NamedDependency[SecretKeys]) -> SecretsView:
    """Which keys there are and how many stored values need each."""
    await secret_keys.reread()
    return SecretsView(
        source=secret_keys.source,
        current=secret_keys.box.current,
        keys=await secret_keys.uses(),
        rotation=secret_keys.last(),
    )


@post(
    "/secrets/rotate",
    responses=PROBLEMS,
    status_code=200,
    opt=needs(Permission.SECRETS_ROTATE),
)
async def rotate_secrets(
    request: CallerRequest, secret_keys: NamedDependency[SecretKeys]
) -> RotationView:
    """Begin to wrap every stored secret with the newest key, or go on with it."""
    progress = await secret_keys.rotate(actor(request))
    return RotationView(
        key_id=progress.rotation.key_id,
        done=progress.rotation.finished_at is not None,
        rewrapped_now=progress.rewrapped_now,
        rewrapped=progress.rotation.rewrapped,
        failed=list(progress.failed),
    )


@delete("/secrets/keys/{key_id:str}", responses=PROBLEMS, opt=needs(Permission.SECRETS_ROTATE))
async def remove_key(
    key_id: FromPath[str], request: CallerRequest, secret_keys: NamedDependency[SecretKeys]
) -> None:
    """Take away a key that no stored value needs any more."""
    await secret_keys.remove(key_id, actor(request))


SECRET_CALLS = (show_secrets, rotate_secrets, remove_key)
