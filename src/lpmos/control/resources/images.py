"""The image calls of the API (A12): list, upload in pieces with resume, verify, delete.

The images are those of this control plane's own directory. Several control planes share one by a
shared file system; under `lpmos up` the region serves from the same directory at once.
"""

import asyncio
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import TAKES, UnsupportedMediaType
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.journal import told
from lpmos.images.catalog import Catalog, ImageFields, UntrustedImage
from lpmos.images.conversion import SourceFormat
from lpmos.images.signatures import fingerprint, is_signed, public_key
from lpmos.images.uploads import Upload, Uploads, to_its_end
from lpmos.install import FAMILIES
from lpmos.install.disk_image import DISK_FAMILIES
from lpmos.model.access import Permission
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, FieldProblem, ImageError, InvalidInput, NotFound
from lpmos.model.image import ImageFormat, ImageManifest, NetworkSystem
from lpmos.store.api import Store

PIECE = "application/octet-stream"
PIECE_BYTES = 64 * 1024 * 1024
"""The most that one `PATCH` may bring."""

IMAGE_BYTES = 1 << 40
NAME_PATTERN = "^(?!agent$|installers$)[a-z0-9][a-z0-9._-]{0,99}$"
_EVERY_FAMILY = frozenset({*FAMILIES, *DISK_FAMILIES})


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """One image; `error` where it is damaged, or no trusted key signed it, and is not served."""

    name: str
    os_type: str | None = None
    os_version: str | None = None
    family: str | None = None
    architecture: str | None = None
    format: ImageFormat | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    unpacked_bytes: int | None = None
    disk_bytes: int | None = None
    built_at: datetime | None = None
    packages: int | None = None
    first_boot: bool = False
    network: NetworkSystem | None = None
    cloud_init: bool = False
    source_sha256: str | None = None
    signature: str | None = None
    signed_by: str | None = None
    error: str | None = None


class ImageList(msgspec.Struct, frozen=True):
    """Every image of this control plane, by name."""

    images: list[ImageView]


class NewUpload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an image will be, before its bytes come.

    `sha256` and `size_bytes` are of what is uploaded. `unpacked_bytes` is of an archive; of a disk
    it is found out.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    family: Annotated[str, msgspec.Meta(extra_json_schema={"enum": sorted(_EVERY_FAMILY)})]
    os_type: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,31}$")]
    os_version: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9][a-zA-Z0-9._-]{0,31}$")]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=IMAGE_BYTES)]
    unpacked_bytes: Annotated[int, msgspec.Meta(ge=1, le=IMAGE_BYTES)] | None = None
    source_format: SourceFormat = "tar.zst"
    architecture: Literal["x86_64"] = "x86_64"
    first_boot: bool = False
    network: NetworkSystem = "systemd-networkd"
    cloud_init: bool = False


class NewSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signature of what an image's manifest says, with the key that it can be checked by."""

    signature: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9+/]{86}==$")]
    public_key: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class UploadView(msgspec.Struct, frozen=True, kw_only=True):
    """How far an upload is; `image` once it is whole and verified."""

    upload_id: str
    name: str
    offset: int
    size_bytes: int
    image: ImageView | None = None


class Images:
    """The images directory of one control plane, and what changes in it."""

    def __init__(
        self, catalog: Catalog, uploads: Uploads, store: Store, fleet: Fleet, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.uploads = uploads

    def all(self) -> list[ImageView]:
        """Every image, the damaged ones with what is wrong."""
        whole = [_view(manifest) for manifest in self._catalog.manifests()]
        damaged = [_left_out(name, error) for name, error in self._catalog.damaged().items()]
        return sorted([*whole, *damaged], key=lambda image: image.name)

    def one(self, name: str) -> ImageView:
        """One image.

        Raises:
            NotFound: there is none of this name.
        """
        for image in self.all():
            if image.name == name:
                return image
        raise NotFound(f"there is no image {name[:100]}")

    async def bring(
        self, request: Request[Any, Any, Any], upload_id: str, offset: int, by: Actor
    ) -> UploadView:
        """Take what a request brings; with the last byte the image enters the catalog.

        Two at once for one upload wait for each other, also for what the end of one takes; one at
        another control plane waits for a while. Raises as `Uploads` does.
        """
        async with self._alone(upload_id), self.uploads.alone(upload_id):
            upload = await self.uploads.append(upload_id, offset, request.stream())
            if upload.offset < upload.size_bytes:
                return _upload(upload)
            return _upload(upload, await self._finish(upload_id, by))

    async def give_up(self, upload_id: str) -> None:
        """Remove an upload with all that came, once nobody brings or finishes it.

        Raises as `Uploads.forget` does.
        """
        async with self._alone(upload_id), self.uploads.alone(upload_id):
            await to_its_end(partial(self.uploads.forget, upload_id))

    def _alone(self, upload_id: str) -> asyncio.Lock:
        """The lock of an upload; it is there for as long as anybody holds it or waits for it."""
        return self._one_at_a_time.setdefault(upload_id, asyncio.Lock())

    async def _finish(self, upload_id: str, by: Actor) -> ImageView:
        manifest = await to_its_end(partial(self.uploads.finish, upload_id))
        shown = {"sha256": manifest.sha256, "size_bytes": manifest.size_bytes}
        await self._tell("image.added", manifest.name, by, shown)
        return self.one(manifest.name)

    async def sign(self, name: str, new: NewSignature, by: Actor) -> ImageView:
        """Keep a signature of an image.

        Raises:
            NotFound: there is no such image.
            InvalidInput: it is none of this image by this key.
        """
        self.one(name)
        try:
            key = public_key(new.public_key.encode(), "this")
        except ImageError as error:
            raise InvalidInput(FieldProblem("public_key", str(error))) from error
        manifest = msgspec.structs.replace(
            self._catalog.said(name), signature=new.signature, signed_by=fingerprint(key)
        )
        if not is_signed(manifest, key):
            text = "is none of this image by this key: sign what the image says now"
            raise InvalidInput(FieldProblem("signature", text))
        await asyncio.to_thread(self._catalog.sign, manifest)
        await self._tell("image.signed", name, by, {"signed_by": manifest.signed_by})
        return self.one(name)

    async def verify(self, name: str) -> ImageView:
        """Compute the digest of an image again; one that is damaged is shown with its error."""
        image = self.one(name)
        try:
            await asyncio.to_thread(self._catalog.verify, name)
        except ImageError as error:
            return msgspec.structs.replace(image, error=str(error))
        return image

    async def remove(self, name: str, by: Actor) -> None:
        """Delete an image.

        Raises:
            NotFound: there is none of this name.
            Conflict: an unfinished task needs it.
        """
        image = self.one(name)
        wanted = (image.os_type, image.os_version)
        needing = [
            task.sn
            for task in self._fleet.current_tasks()
            if not task.finished and (task.os_type, task.os_version) == wanted
        ]
        if needing:
            raise Conflict(f"{len(needing)} unfinished tasks need it, that of {needing[0]} first")
        await asyncio.to_thread(self._catalog.remove, name)
        await self._tell("image.deleted", name, by, {"sha256": image.sha256})

    async def _tell(self, action: str, name: str, by: Actor, what: dict[str, Any]) -> None:
        event = told(action, f"image/{name}", by, self._clock(), after=what)
        await self._store.txn([], [event])


@get("/images", responses=PROBLEMS, opt=needs(Permission.IMAGE_READ))
async def list_images(images: NamedDependency[Images]) -> ImageList:
    """Every image of this control plane."""
    return ImageList(images.all())


@get("/images/{name:str}", responses=PROBLEMS, opt=needs(Permission.IMAGE_READ))
async def show_image(name: FromPath[str], images: NamedDependency[Images]) -> ImageView:
    """One image."""
    return images.one(name)


@post(
    "/images/{name:str}/verify",
    responses=PROBLEMS,
    status_code=200,
    opt=needs(Permission.IMAGE_WRITE),
)
async def verify_image(name: FromPath[str], images: NamedDependency[Images]) -> ImageView:
    """Compute an image's digest again; `error` says what is wrong with it."""
    return await images.verify(name)


@put("/images/{name:str}/signature", responses=PROBLEMS, opt=needs(Permission.IMAGE_WRITE))
async def sign_image(
    name: FromPath[str],
    data: JSONBody[NewSignature],
    request: CallerRequest,
    images: NamedDependency[Images],
) -> ImageView:
    """Keep a signature of an image; which key is trusted is a setting of each region."""
    return await images.sign(name, data, actor(request))


@delete("/images/{name:str}", responses=PROBLEMS, opt=needs(Permission.IMAGE_WRITE))
async def delete_image(
    name: FromPath[str], request: CallerRequest, images: NamedDependency[Images]
) -> None:
    """Delete an image that no unfinished task needs."""
    await images.remove(name, actor(request))


@post("/images/uploads", responses=PROBLEMS, opt=needs(Permission.IMAGE_WRITE))
async def begin_upload(data: JSONBody[NewUpload], images: NamedDependency[Images]) -> UploadView:
    """Begin the upload of an image, or find where it was left."""
    _check(data)
    fields = ImageFields(
        name=data.name,
        family=data.family,
        os_type=data.os_type,
        os_version=data.os_version,
        unpacked_bytes=data.unpacked_bytes or 0,
        first_boot=data.first_boot,
        network=data.network,
        cloud_init=data.cloud_init,
    )
    begun = await asyncio.to_thread(
        images.uploads.begin, fields, data.sha256, data.size_bytes, data.source_format
    )
    return _upload(begun)


def _check(data: NewUpload) -> None:
    """What the type of an upload cannot say of it.

    Raises:
        InvalidInput: names each wrong field.
    """
    archive = data.source_format == "tar.zst"
    families = FAMILIES if archive else DISK_FAMILIES
    problems = []
    if data.family not in families:
        known = f"is unknown for {data.source_format}; known: {', '.join(families)}"
        problems.append(FieldProblem("family", known))
    if archive and data.unpacked_bytes is None:
        problems.append(FieldProblem("unpacked_bytes", "is missing: an archive does not say it"))
    if not archive and data.unpacked_bytes is not None:
        problems.append(FieldProblem("unpacked_bytes", "is not of a disk image: leave it out"))
    if archive and data.network != "systemd-networkd":
        text = "is of disk images; an archive's family says it"
        problems.append(FieldProblem("network", text))
    if archive and data.cloud_init:
        problems.append(FieldProblem("cloud_init", "is of disk images"))
    if problems:
        raise InvalidInput(*problems)


@get("/images/uploads/{upload_id:str}", responses=PROBLEMS, opt=needs(Permission.IMAGE_WRITE))
async def show_upload(upload_id: FromPath[str], images: NamedDependency[Images]) -> UploadView:
    """How far an upload is."""
    return _upload(images.uploads.show(upload_id))


def _takes() -> dict[str, Any]:
    return {PIECE: bytes}


@patch(
    "/images/uploads/{upload_id:str}",
    responses=PROBLEMS,
    opt=needs(Permission.IMAGE_WRITE, **{TAKES: _takes}),
    request_max_body_size=PIECE_BYTES,
)
async def append_upload(
    upload_id: FromPath[str],
    request: CallerRequest,
    images: NamedDependency[Images],
    upload_offset: Annotated[int, HeaderParameter(name="Upload-Offset", ge=0, le=IMAGE_BYTES)],
) -> UploadView:
    """Bring the next bytes; with the last ones the image is verified, converted, and enters.

    Until this is answered the image is not there; asked again without bytes, it goes on waiting.
    """
    media_type = request.content_type[0]
    if media_type != PIECE:
        raise UnsupportedMediaType(f"send the bytes as {PIECE}, not {media_type or 'nothing'!r}")
    return await images.bring(request, upload_id, upload_offset, actor(request))


@delete("/images/uploads/{upload_id:str}", responses=PROBLEMS, opt=needs(Permission.IMAGE_WRITE))
async def delete_upload(upload_id: FromPath[str], images: NamedDependency[Images]) -> None:
    """Give an upload up, with all that came."""
    await images.give_up(upload_id)


def _left_out(name: str, error: ImageError) -> ImageView:
    if not isinstance(error, UntrustedImage):
        return ImageView(name=name, error=str(error))
    return msgspec.structs.replace(_view(error.manifest), error=str(error))


def _view(manifest: ImageManifest) -> ImageView:
    names = ImageView.__struct_fields__
    known = msgspec.structs.asdict(manifest)
    return ImageView(**{name: known[name] for name in names if name in known})


def _upload(upload: Upload, image: ImageView | None = None) -> UploadView:
    return UploadView(
        upload_id=upload.upload_id,
        name=upload.fields.name,
        offset=upload.offset,
        size_bytes=upload.size_bytes,
        image=image,
    )


IMAGE_CALLS = (
    list_images,
    show_image,
    verify_image,
    sign_image,
    delete_image,
    begin_upload,
    show_upload,
    append_upload,
    delete_upload,
)
