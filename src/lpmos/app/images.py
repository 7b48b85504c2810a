"""Where a part keeps its images, and whose signatures it trusts."""

from pathlib import Path

from lpmos.app.settings import Settings
from lpmos.images.catalog import Catalog
from lpmos.images.catalog_manifests import Refuses
from lpmos.model.errors import ImageError, SettingsError


def images_dir(settings: Settings) -> Path:
    """The directory of the images: the one that was named, else one in the state directory."""
    given: Path | None = settings.images_dir
    state_dir: Path = settings.state_dir
    return given or state_dir / "images"


def catalog_of(settings: Settings) -> Catalog:
    """The images of a part; with `image_trusted_keys` only those that are signed are served.

    Raises:
        SettingsError: the keys cannot be used.
    """
    return Catalog(images_dir(settings), refuses=trust_of(settings))


def trust_of(settings: Settings) -> Refuses | None:
    """What says of an image why it is not trusted; None where every image is.

    Raises:
        SettingsError: the keys cannot be used.
    """
    place: Path | None = settings.image_trusted_keys
    if place is None:
        return None
    from lpmos.images.signatures import trusted_keys  # only who trusts keys pays for it

    try:
        return trusted_keys(place).refuses
    except ImageError as error:
        raise SettingsError(f"--image-trusted-keys: {error}") from error
