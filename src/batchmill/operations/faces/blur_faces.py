"""blur_faces: make every face in a picture unrecognisable; rather one veil too many."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.faces.face import Face
from batchmill.operations.images.codec.color_values import COLOUR_PATTERN

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture


class BlurFacesOptions(Options):
    """Options of `blur_faces`."""

    method: Literal["blur", "pixelate", "fill"] = Field(
        "blur", description="How a face is hidden: softly, in squares, or under one colour."
    )
    shape: Literal["ellipse", "box"] = Field("ellipse", description="Outline of what is hidden.")
    blocks: int = Field(
        5,
        ge=1,
        le=16,
        description="blur, pixelate: how many colours across a face are left; fewer hide more. "
        "From 5 down the detector itself does not find the face again.",
    )
    colour: str = Field("#000000", pattern=COLOUR_PATTERN, description="fill: the colour, #rrggbb.")
    padding_pct: float = Field(
        25,
        ge=0,
        le=200,
        description="Room on every side that is hidden too, in percent of the face.",
    )
    min_score: float = Field(
        0.2,
        ge=0.05,
        le=0.95,
        description="How sure the detector must be. Low: rather hide something that is no face.",
    )
    search_px: int = Field(
        2_048,
        ge=320,
        le=8_192,
        description="Longer side at which small faces are looked for. Faces down to 12 px at that "
        "size are found; the time grows with the square.",
    )


def run(work: Work, options: BlurFacesOptions) -> Work:
    """Hide the faces of every picture, in each frame of an animation by itself.

    Raises:
        FaceModelMissingError: a part of the installation is not there.
    """
    pictures: list[Picture] = []
    faces: list[dict[str, Any]] = []
    for picture in work.pictures:
        blurred, described = _blurred(picture, options, work)
        pictures.append(blurred)
        faces += described
    data = {"face_detected": bool(faces), "face_count": len(faces), "faces": faces}
    return replace(work, pictures=tuple(pictures)).with_data(**data)


def _blurred(
    picture: "Picture", options: BlurFacesOptions, work: Work
) -> tuple["Picture", list[dict[str, Any]]]:
    from batchmill.operations.faces.hiding import Veil, hidden
    from batchmill.operations.images.codec import geometry

    veil = Veil(
        options.method, options.shape, options.padding_pct / 100, options.blocks, options.colour
    )
    upright = geometry.upright(picture)
    whole = upright.with_image(upright.image.copy_memory())
    described: list[dict[str, Any]] = []

    def hide(frame: Any) -> Any:  # noqa: ANN401 - pyvips images
        faces = _found(whole.with_image(frame), options, work)
        described.extend(_described(face, (frame.width, frame.height)) for face in faces)
        return hidden(frame, faces, veil)

    return whole.with_image(geometry.each_frame(whole.image, hide)), described


def _found(picture: "Picture", options: BlurFacesOptions, work: Work) -> tuple[Face, ...]:
    from batchmill.operations.faces.photo import open_photo
    from batchmill.operations.faces.search import find_all

    photo = open_photo(
        picture,
        work.limits,
        tolerant=work.tolerant,
        least_px=options.search_px,
        most_px=options.search_px,
    )
    return find_all(photo.scene(), options.min_score, finest_px=options.search_px)


def _described(face: Face, size: tuple[int, int]) -> dict[str, Any]:
    left, top, width, height = face.box_in(size)
    score = round(face.score, 3)
    return {"x": left, "y": top, "width": width, "height": height, "score": score}


OPERATION = Transform(
    name="blur_faces",
    summary="Make every face in a picture unrecognisable.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=BlurFacesOptions,
    run=run,
)
