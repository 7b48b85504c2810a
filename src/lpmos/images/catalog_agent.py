"""The boot agent's generations in the images directory, and the link that names the present one.

    <images_dir>/agent/x86_64-> <generation>    the agent: kernel, initramfs and manifest together

The rule: kernel and initramfs of one build are one directory, and the link changes in one step, so
that no machine gets the kernel of one build with the modules of another.
"""

import logging
import shutil
from pathlib import Path

import msgspec

from lpmos.images.agent_manifest import AgentImage, AgentManifest
from lpmos.images.atomic import (
    point_link,
    scratch_directory,
    sync_directory,
    sync_file,
    write_file,
)
from lpmos.images.catalog_files import MANIFEST, check_digest, check_size, document, writing
from lpmos.model.errors import ImageError

AGENT = "agent"
KEPT_AGENTS = 2
"""Agent generations that stay: machines that are just booting may still fetch the one before."""

_log = logging.getLogger(__name__)


class AgentImages:
    """The agent's images of one images directory."""

    def __init__(self, images_dir: Path) -> None:
        """The directory may be missing: then there is none."""
        self._directory = images_dir

    def agent_manifest(self) -> AgentManifest | None:
        """What is known of the boot agent's image; None where there is none, or a damaged one."""
        return _read_agent_manifest(self._agent_link().resolve())

    def agent(self) -> AgentImage:
        """The boot agent's kernel and initramfs; both are of one build, and stay for another one.

        Raises:
            ImageError: there is none, or it is damaged.
        """
        generation = self._agent_link().resolve()
        advice = "build it with `lpmos image build-agent`"
        manifest = _read_agent_manifest(generation)
        if manifest is None:
            raise ImageError(f"there is no usable agent image in {generation}: {advice}")
        image = AgentImage(
            kernel=generation / "vmlinuz",
            initramfs=generation / "initramfs",
            version=manifest.version,
            architecture=manifest.architecture,
            kernel_sha256=manifest.kernel.sha256,
            initramfs_sha256=manifest.initramfs.sha256,
        )
        check_size(image.kernel, manifest.kernel.size_bytes, advice)
        check_size(image.initramfs, manifest.initramfs.size_bytes, advice)
        return image

    def agent_file(self, sha256: str) -> Path | None:
        """The present agent's kernel or initramfs by its digest; None where it has none such."""
        generation = self._agent_link().resolve()
        if (manifest := _read_agent_manifest(generation)) is None:
            return None
        files = {manifest.kernel.sha256: "vmlinuz", manifest.initramfs.sha256: "initramfs"}
        return generation / files[sha256] if sha256 in files else None

    def verify_agent(self) -> AgentImage:
        """Read the agent's files and compare them with their manifest.

        Raises:
            ImageError: a file is missing or damaged; names the file and both digests.
        """
        image = self.agent()
        advice = "build it again with `lpmos image build-agent --force`"
        check_digest(image.kernel, image.kernel_sha256, advice)
        check_digest(image.initramfs, image.initramfs_sha256, advice)
        return image

    def put_agent(self, manifest: AgentManifest, kernel: Path, initramfs: Path) -> AgentImage:
        """Move a kernel and an initramfs into the catalog, in place of the agent that is there.

        Raises:
            ImageError: the images directory cannot be written.
        """
        with writing(self._directory):
            self._put_generation(manifest, kernel, initramfs)
        return self.agent()

    def _put_generation(self, manifest: AgentManifest, kernel: Path, initramfs: Path) -> None:
        parent = self._agent_link().parent
        generation = parent / f"x86_64-{manifest.kernel.sha256[:8]}{manifest.initramfs.sha256[:8]}"
        with scratch_directory(parent) as scratch:
            for path, name in ((kernel, "vmlinuz"), (initramfs, "initramfs")):
                shutil.move(path, scratch / name)
                sync_file(scratch / name)
            write_file(scratch / MANIFEST, document(manifest))
            if generation.exists():  # the same bytes, built again
                write_file(generation / MANIFEST, document(manifest))
            else:
                scratch.rename(generation)
        sync_directory(parent)
        point_link(self._agent_link(), generation.name)
        self._forget_old_agents()

    def _agent_link(self) -> Path:
        return self._directory / AGENT / "x86_64"

    def _forget_old_agents(self) -> None:
        parent = self._agent_link().parent
        generations = sorted(
            parent.glob("x86_64-*"), key=lambda path: (path / MANIFEST).stat().st_mtime_ns
        )
        current = self._agent_link().readlink().name
        others = [path for path in generations if path.name != current]
        for old in others[: len(others) - (KEPT_AGENTS - 1)]:
            shutil.rmtree(old)


def _read_agent_manifest(generation: Path) -> AgentManifest | None:
    path = generation / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=AgentManifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        _log.warning("the agent's manifest %s cannot be read: %s", path, error)
        return None
