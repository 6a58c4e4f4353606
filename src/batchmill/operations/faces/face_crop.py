"""face_crop: find the faces of a photo and cut out the main one, or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from batchmill.errors.item import NoFaceError
from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.faces.face import Face
from batchmill.operations.faces.framing import Frame, around, fits, for_id, inside

if TYPE_CHECKING:
    from batchmill.operations.faces.photo import Photo
    from batchmill.operations.picture import Picture

MAIN_LEAST_SHARE = 0.75
"""A JPEG is decoded to at least this share of `detect_px` for its main face: 12 MP to 1000 px."""
SEVERAL_SHARE = 1 / 3
"""A second face counts from this share of the main one's height on; bystanders far off do not."""
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


class FaceCropOptions(Options):
    """Options of `face_crop`."""

    faces: Literal["main", "all", "largest"] = Field(
        "main", description="Which faces to cut out: the main one, all, or the `count` largest."
    )
    count: int = Field(1, ge=1, le=100, description="How many faces `largest` cuts out.")
    width: int = Field(300, ge=16, le=4_096, description="Width of a crop in px.")
    height: int = Field(300, ge=16, le=4_096, description="Height of a crop in px.")
    framing: Literal["face", "id"] = Field(
        "face",
        description="face: the face and its padding; id: an ID photo by head height and eye line, "
        "with level eyes.",
    )
    padding_pct: float = Field(
        20, ge=0, le=200, description="Room on every side, in percent of the face's longer side."
    )
    level_eyes: bool = Field(False, description="Turn the crop so that the eyes are level.")
    head_pct: float = Field(
        70, ge=30, le=95, description="id: chin to crown, in percent of the crop's height."
    )
    eye_line_pct: float = Field(
        60, ge=30, le=80, description="id: the eyes above the lower edge, in percent of the height."
    )
    border: Literal["shift", "extend"] = Field(
        "shift",
        description="Where the crop would reach beyond the photo. shift: move it inside, and make "
        "it smaller if it must; extend: keep the face in place and repeat the photo's edge.",
    )
    detect_px: int = Field(
        1_024,
        ge=128,
        le=4_096,
        description="Longest side in px at which faces are looked for: less is faster, more finds "
        "smaller faces.",
    )
    min_score: float = Field(
        0.5, ge=0.05, le=0.95, description="How sure the detector must be that it is a face."
    )
    no_face: Literal["accept", "fail"] = Field(
        "accept",
        description="A photo without a face. accept: succeed without a crop, and say so in the "
        "data; fail: the file fails with no_face.",
    )


def run(work: Work, options: FaceCropOptions) -> Work:
    """Replace every picture by the crops of its faces, and describe the faces in the data.

    Raises:
        NoFaceError: there is none, and the options say to fail then.
        FaceModelMissingError: a part of the installation is not there.
    """
    pictures: list[Picture] = []
    faces: list[dict[str, Any]] = []
    for picture in work.pictures:
        crops, described = _cropped(picture, options, work)
        pictures += crops
        faces += described
    if not faces and options.no_face == "fail":
        raise NoFaceError(work.source.name)
    return replace(work, pictures=tuple(pictures)).with_data(**_summary(faces))


def _cropped(
    picture: "Picture", options: FaceCropOptions, work: Work
) -> tuple[list["Picture"], list[dict[str, Any]]]:
    """Return the crops of one picture, and a description of each of its faces, main one first."""
    from batchmill.operations.faces.cutting import cut
    from batchmill.operations.faces.photo import open_photo
    from batchmill.operations.faces.search import find_all, find_main

    only_main, finest_px = options.faces == "main", options.detect_px
    photo = open_photo(
        picture,
        work.limits,
        tolerant=work.tolerant,
        least_px=round(finest_px * MAIN_LEAST_SHARE) if only_main else finest_px,
        most_px=finest_px,
    )
    find = find_main if only_main else find_all
    faces = find(photo.scene(), options.min_score, finest_px=finest_px)
    plans = _planned(faces, photo, options)
    frames = [plan.frame for plan in plans if plan.wanted]
    images = cut(photo, frames, (options.width, options.height)) if frames else []
    crops = [
        replace(
            photo.picture.with_image(image),
            orientation=1,
            suffix=_suffix(picture, number, only_main),
        )
        for number, image in enumerate(images, start=1)
    ]
    return crops, [_described(plan, photo.size) for plan in plans]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A face, whether it is cut out, and where; `near_border` if the border moved the frame."""

    face: Face
    frame: Frame
    near_border: bool
    wanted: bool


def _planned(faces: Sequence[Face], photo: "Photo", options: FaceCropOptions) -> list[_Plan]:
    by_area = sorted(faces, key=lambda face: face.area, reverse=True)
    wanted = {"main": faces[:1], "all": faces, "largest": by_area[: options.count]}[options.faces]
    return [_plan(face, photo, options, wanted=face in wanted) for face in faces]


def _plan(face: Face, photo: "Photo", options: FaceCropOptions, *, wanted: bool) -> _Plan:
    if wanted and (options.level_eyes or options.framing == "id"):
        from batchmill.operations.faces.levelling import looked_at_again

        face = looked_at_again(photo, face)
    shape = (options.width, options.height)
    if options.framing == "id":
        frame = for_id(
            face, shape, head=options.head_pct / 100, eye_line=options.eye_line_pct / 100
        )
    else:
        frame = around(face, shape, padding=options.padding_pct / 100, level=options.level_eyes)
    near_border = not fits(frame, photo.size)
    if near_border and options.border == "shift":
        frame = inside(frame, photo.size)
    return _Plan(face, frame, near_border, wanted)


def _suffix(picture: "Picture", number: int, only_main: bool) -> str:
    return picture.suffix if only_main else f"{picture.suffix}-face-{number}"


def _described(plan: _Plan, size: tuple[int, int]) -> dict[str, Any]:
    """Return a face as plain values, in whole pixels of the upright picture of `size`."""
    face, frame = plan.face, plan.frame
    left, top, width, height = face.box_in(size)
    points = ([round(x, 1), round(y, 1)] for x, y in face.landmarks)
    return {
        "x": left,
        "y": top,
        "width": width,
        "height": height,
        "score": round(face.score, 3),
        "landmarks": dict(zip(LANDMARKS, points, strict=True)),
        "near_border": plan.near_border,
        "crop": _crop(frame) if plan.wanted else None,
    }


def _crop(frame: Frame) -> dict[str, float]:
    return {
        "x": round(frame.x - frame.width / 2, 1),
        "y": round(frame.y - frame.height / 2, 1),
        "width": round(frame.width, 1),
        "height": round(frame.height, 1),
        "angle_deg": round(frame.angle_deg, 1),
    }


def _summary(faces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the data of the file: the main face in flat names, then all faces."""
    main = faces[0] if faces else dict.fromkeys(("x", "y", "width", "height", "score"))
    least = SEVERAL_SHARE * (main["height"] or 0)
    return {
        "face_detected": bool(faces),
        "face_x": main["x"],
        "face_y": main["y"],
        "face_width": main["width"],
        "face_height": main["height"],
        "face_score": main["score"],
        "face_near_border": bool(faces) and faces[0]["near_border"],
        "several_faces": any(face["height"] >= least for face in faces[1:]),
        "faces": list(faces),
    }


OPERATION = Transform(
    name="face_crop",
    summary="Find the faces of a photo and cut out the main one, all, or the largest.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=FaceCropOptions,
    run=run,
)
