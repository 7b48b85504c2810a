"""Where a part keeps its images."""

from pathlib import Path

from lpmos.app.settings import Settings


def images_dir(settings: Settings) -> Path:
    """The directory of the images: the one that was named, else one in the state directory."""
    given: Path | None = settings.images_dir
    state_dir: Path = settings.state_dir
    return given or state_dir / "images"
