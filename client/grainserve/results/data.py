"""The data of a result: the measured grains of one image, as objects, a table, a label map and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from grainserve.contract import check_image_id, schema
from grainserve.errors import GrainNotFound, GrainserveError, InvalidImage, InvalidResult
from grainserve.escaping import visible
from grainserve.images import ImageSource, display_pixels
from grainserve.results import edge_correction as correction
from grainserve.results.frame import Box
from grainserve.results.masks import Window, decode_mask, decode_window, paint_labels
from grainserve.results.size_curve import SizeCurve, Weighting, size_curve

# Imported where they are used: a dispatcher makes no tables or pictures, and starts twice as fast without them.
if TYPE_CHECKING:
    import pandas as pd

    from grainserve.results.size_figure import SizeFigure


_PARTS = {
    "boundingBox": ("x", "y", "width", "height"),
    "centroid": ("x", "y"),
    "meanIntensity": ("r", "g", "b"),
    "intensityStd": ("r", "g", "b"),
    "centroid_um": ("x", "y"),
    "texture": ("entropy", "gradientMean", "gradientStd", "coherence"),
}
_WHOLE = {"id", "boundingBox_x", "boundingBox_y", "boundingBox_width", "boundingBox_height", "area"}
_BOOLEAN = {"touchesEdge", "lowPrecision"}
_TEXT = {"class", "classSource"}


@dataclass(frozen=True)
class Grain:
    """One measured grain.

    Attributes:
        id: number of the grain, 1 or more; its value in the label map.
        label: class of the grain; `unknown` where a classifier would not say.
        score: score of its mask, 0 to 1.
        mask: mask as in the result (`mask_format`); None with `none`.
        properties: measurements under their wire names, in px, px² and degrees, with `_um` twins when a scale was
            given.
        class_confidence: probability of the likeliest class, 0 to 1; 0 for a grain like none that the classifier knows.
            None where the class was given.
        class_source: who named the class, `given` or `classifier`.
        predicted_iou: SAM's own estimate of the mask's IoU; None where nobody asked for the grain by a prompt.
        stability_score: IoU of the mask with itself under shifted thresholds; None as `predicted_iou`.
        mask_token: token that stands for the mask in a prompt that refines it; None as `predicted_iou`.
    """

    id: int
    label: str
    score: float
    mask: Any
    properties: Mapping[str, Any]
    class_confidence: float | None = None
    class_source: str = "given"
    predicted_iou: float | None = None
    stability_score: float | None = None
    mask_token: str | None = None

    @property
    def area(self) -> int:
        """Area, px²."""
        return int(self.properties["area"])

    @property
    def equivalent_diameter(self) -> float | None:
        """Diameter of the disc of the same area, px."""
        value = self.properties["equivalentDiameter"]
        return None if value is None else float(value)

    @property
    def touches_edge(self) -> bool:
        """True where the frame cuts the grain, so that its size is a lower bound."""
        return bool(self.properties["touchesEdge"])

    def __repr__(self) -> str:
        return f"<Grain {self.id}: {visible(self.label)}, {self.area} px², score {self.score:.2f}>"

    def row(self) -> dict[str, Any]:
        """Returns the grain as one flat row: `boundingBox_x`, `centroid_y`, `meanIntensity_r`, …"""
        row: dict[str, Any] = {
            "id": self.id,
            "class": self.label,
            "classConfidence": self.class_confidence,
            "classSource": self.class_source,
            "score": self.score,
        }
        for name, value in self.properties.items():
            if name not in _PARTS:
                row[name] = value
            elif isinstance(value, Mapping):
                row.update({f"{name}_{part}": value[part] for part in _PARTS[name]})
            else:
                row.update({f"{name}_{part}": each for part, each in zip(_PARTS[name], value, strict=True)})
        return row


class ResultData:
    """The data of one image's result; `grainserve.Result` adds statistics and exports.

    `len(result)` is the number of grains, a loop goes through them, and `result[58]` is the grain whose id is 58. A
    notebook shows outlines, sizes and the largest grains.

    Args:
        data: result as TorchServe answered it.
        fetch_image: brings the submitted image, for `overlay`; None where nothing can bring it.

    Attributes:
        metadata: the result's metadata, under its wire names.
        image_id: image id.
        width: width of the image, px.
        height: height of the image, px.
        grains: the measured grains.
        um_per_px: scale, µm per px; None where none was given.

    Raises:
        InvalidResult: the data is no result.
    """

    def __init__(self, data: Mapping[str, Any], fetch_image: Callable[[], ImageSource] | None = None) -> None:
        self._data = data
        self._fetch_image = fetch_image
        try:
            self.metadata: Mapping[str, Any] = data["metadata"]
            self.image_id = check_image_id(self.metadata["imageId"])
            self.width = int(self.metadata["image"]["width"])
            self.height = int(self.metadata["image"]["height"])
            self.frame  # noqa: B018 - refuses a wrong frame here, too
            scale = self.metadata["units"]["umPerPx"]
            self.grains = [_grain(each) for each in data["segmentedObjects"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidResult(f"this is not a result: {error!r}") from error
        self.um_per_px = None if scale is None else float(scale)

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> Self:
        """Reads a result that `to_json` wrote.

        Raises:
            InvalidResult: the file holds no result.
        """
        try:
            data = json.loads(Path(path).read_bytes())
        except ValueError as error:
            raise InvalidResult(f"{path} is not JSON: {error}") from error
        try:
            return cls(data)
        except InvalidResult as error:
            raise InvalidResult(f"{path}: {error}") from error

    @property
    def frame(self) -> Box:
        """Part of the image that was measured, px: all of it, unless a crop was asked for."""
        box = self.metadata.get("frame")
        return Box(**box) if box else Box(0, 0, self.width, self.height)

    def __repr__(self) -> str:
        size = f"{self.width} × {self.height} px"
        return f"<{type(self).__name__} of image {self.image_id}: {len(self.grains)} grains, {size}>"

    def __len__(self) -> int:
        """Returns the number of grains."""
        return len(self.grains)

    def __bool__(self) -> bool:
        """Returns True, also without grains: a result is not the None that `poll` returns for a job in work."""
        return True

    def __iter__(self) -> Iterator[Grain]:
        """Goes through the grains, in the order of the result."""
        return iter(self.grains)

    def __getitem__(self, number: int) -> Grain:
        """Returns a grain by its id, as in the label map and the table; this is not its place in `grains`.

        Args:
            number: the grain's id, such as 58.

        Raises:
            GrainNotFound: the result has no such grain.
        """
        try:
            return self._by_id[number]
        except KeyError:
            raise GrainNotFound(number, self.image_id) from None

    @cached_property
    def _by_id(self) -> dict[int, Grain]:
        return {grain.id: grain for grain in self.grains}

    @property
    def scale_source(self) -> str | None:
        """Source of the scale; None without a scale, and in results from before 2026-11-22."""
        source = self.metadata["units"].get("scaleSource")
        return None if source is None else str(source)

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as TorchServe answered it."""
        return dict(self._data)

    def to_json(self, path: str | PathLike[str]) -> None:
        """Writes the result as JSON.

        Args:
            path: file to write.
        """
        Path(path).write_text(json.dumps(self._data, allow_nan=False, ensure_ascii=False, indent=1), encoding="utf-8")

    def to_dataframe(self) -> pd.DataFrame:
        """Returns the table of the grains, a row for each; without any grain it has the same columns in the same order.

        The columns are the wire names, flat. Null becomes NaN. Lengths are in px, areas in px², angles in degrees.
        Columns that end in `_um` and `_um2` are there when a scale was given.
        """
        import pandas as pd  # noqa: PLC0415

        columns = _columns(self.um_per_px is not None)
        rows = [grain.row() for grain in self.grains]
        return pd.DataFrame(
            {name: pd.Series([row.get(name) for row in rows], dtype=_dtype(name)) for name in columns}, columns=columns
        )

    def wadell(self) -> pd.DataFrame:
        """Returns sphericity and Wadell's roundness of the grains, a row for each; docs/measurement.md defines them.

        The columns are `id`, `inscribedDiameter`, `enclosingDiameter`, `rileySphericity` and `wadellRoundness`.
        Diameters are in px, and in columns that end in `_um` when a scale was given. Grains too small for them have
        NaN.

        Raises:
            MasksMissing: the result was asked for with mask_format `none`.
        """
        import pandas as pd  # noqa: PLC0415

        from grainserve.results.wadell import circles  # noqa: PLC0415

        found = [circles(window) for window in self.windows]
        measured = {
            "inscribedDiameter": [each and 2 * each.inscribed for each in found],
            "enclosingDiameter": [each and 2 * each.enclosing for each in found],
            "rileySphericity": [each and each.sphericity for each in found],
            "wadellRoundness": [each and each.roundness for each in found],
        }
        frame = pd.DataFrame(measured, dtype="float64")
        frame.insert(0, "id", pd.Series([grain.id for grain in self.grains], dtype="int64"))
        if self.um_per_px is not None:
            for name in ("inscribedDiameter", "enclosingDiameter"):
                frame[f"{name}_um"] = frame[name] * self.um_per_px
        return frame

    @property
    def has_masks(self) -> bool:
        """True where there are masks to draw: the result was asked for with masks."""
        return all(grain.mask is not None for grain in self.grains)

    @cached_property
    def windows(self) -> list[Window]:
        """Each grain's mask, as the part of the frame that holds it.

        Raises:
            MasksMissing: the result was asked for with mask_format `none`.
        """
        return [
            decode_window(grain.mask, self.height, self.width, grain.properties["boundingBox"]) for grain in self.grains
        ]

    def mask(self, grain: Grain) -> NDArray[np.bool_]:
        """Returns the mask of one of the result's grains in the whole image, H × W, bool.

        Raises:
            MasksMissing: the result was asked for with mask_format `none`.
        """
        return decode_mask(grain.mask, self.height, self.width, grain.properties["boundingBox"])

    @cached_property
    def answers(self) -> list[list[Grain]]:
        """Grains that answer each prompt, in the order of the prompts; of one prompt the best first.

        The best has the highest predicted IoU. A prompt that found nothing has no grains. Empty for automatic masks.

        Raises:
            InvalidResult: a prompt names a grain that the result does not have.
        """
        try:
            return [[self._by_id[number] for number in answer["objectIds"]] for answer in self._data.get("prompts", ())]
        except (KeyError, TypeError) as error:
            raise InvalidResult(f"the answers to the prompts cannot be read: {error!r}") from error

    @cached_property
    def label_map(self) -> NDArray[np.int32]:
        """Grain id of each pixel, H × W, int32; 0 for background.

        With mode `masks`, where masks overlap, a smaller mask lies over a larger one.

        Raises:
            MasksMissing: the result was asked for with mask_format `none`.
        """
        return paint_labels(self.windows, [grain.id for grain in self.grains], self.height, self.width)

    @property
    def size_unit(self) -> str:
        """Unit of sizes: µm when a scale was given, else px."""
        return "px" if self.um_per_px is None else "µm"

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Equivalent diameters of the n grains, float64, in `size_unit`; NaN where a grain has none."""
        sizes = np.array([grain.properties["equivalentDiameter"] for grain in self.grains], dtype=np.float64)
        return sizes * (1.0 if self.um_per_px is None else self.um_per_px)

    @property
    def areas(self) -> NDArray[np.float64]:
        """Areas of the n grains, float64, in the square of `size_unit`."""
        areas = np.array([grain.area for grain in self.grains], dtype=np.float64)
        return areas * (1.0 if self.um_per_px is None else self.um_per_px) ** 2

    def stands_for(self, *, edge_correction: bool = True) -> NDArray[np.float64]:
        """Returns how many grains of the population each of the n grains stands for; 0 leaves a grain out.

        Args:
            edge_correction: whether to correct for the frame, as statistics do: grains that it cuts are left out, and
                the others count 1/P, where P is the probability that a frame holds the grain whole
                (Miles–Lantuéjoul). Without it, every grain counts 1, those that the frame cuts at their visible size.
        """
        boxes = [grain.properties["boundingBox"] for grain in self.grains]
        sides = np.array([(box["width"], box["height"]) for box in boxes], dtype=np.float64).reshape(-1, 2)
        frame = np.array((self.frame.width, self.frame.height), dtype=np.float64)
        touches_edge = np.array([grain.touches_edge for grain in self.grains], dtype=bool)
        return correction.stands_for(
            self.sizes, touches_edge, correction.inclusion(sides, frame), edge_correction=edge_correction
        )

    def size_curve(self, weighting: Weighting = "number", *, edge_correction: bool = True) -> SizeCurve:
        """Returns the cumulative grain-size curve, without grains where the frame cuts all of them.

        Args:
            weighting: `number` or `area`: what each grain counts by.
            edge_correction: whether to correct for the frame, as in `stands_for`.
        """
        counts = self.stands_for(edge_correction=edge_correction)
        return size_curve(self.sizes, self.areas, weighting, counts)

    def percentile(self, percent: float, weighting: Weighting = "number", *, edge_correction: bool = True) -> float:
        """Returns D_p in `size_unit`: the equivalent diameter that p % of the grains are finer than.

        It is that of `statistics`. NaN without grains, and with the edge correction where the frame cuts all of them.

        Args:
            percent: p, 0 to 100.
            weighting: `number` or `area`: what each grain counts by.
            edge_correction: whether to correct for the frame, as in `stands_for`.
        """
        return self.size_curve(weighting, edge_correction=edge_correction).percentile(percent)

    def pixels(self, image: ImageSource | None = None) -> NDArray[np.uint8]:
        """Returns the pixels of the image that was measured, H × W × 3, uint8.

        Args:
            image: the image; None fetches it from where it was submitted.

        Raises:
            InvalidImage: the image does not have the size that was measured.
            GrainserveError: no image is given, and the result knows no bucket to fetch it from.
        """
        if image is None:
            if self._fetch_image is None:
                raise GrainserveError("this result knows no bucket to fetch its image from: pass image=")
            image = self._fetch_image()
        pixels = display_pixels(image)
        if pixels.shape[:2] != (self.height, self.width):
            raise InvalidImage(
                f"the image is {pixels.shape[1]} × {pixels.shape[0]} px, the one measured was {self.width} × "
                f"{self.height} px: give the image that was submitted"
            )
        return pixels

    def overlay(self, path: str | PathLike[str], image: ImageSource | None = None) -> None:
        """Writes a PNG of the image with each grain outlined, and a scale bar when a scale was given.

        Args:
            path: file to write.
            image: the image; None fetches it from where it was submitted.

        Raises:
            InvalidImage: the image does not have the size that was measured.
            MasksMissing: the result was asked for with mask_format `none`.
            GrainserveError: no image is given, and the result knows no bucket to fetch it from.
        """
        labels = self.label_map
        pixels = self.pixels(image)
        from grainserve.results.overlay import draw_overlay  # noqa: PLC0415

        draw_overlay(pixels, labels, self.um_per_px).save(path, "PNG")

    def histogram(self, path: str | PathLike[str], *, edge_correction: bool = True) -> None:
        """Writes a PNG of the grain sizes: histogram and cumulative curves. It says whether they are corrected.

        Args:
            path: file to write.
            edge_correction: whether to correct for the frame, as in `stands_for`.
        """
        Path(path).write_bytes(self.plot(edge_correction=edge_correction).png(dpi=300))

    def plot(self, *, edge_correction: bool = True) -> SizeFigure:
        """Returns the figure of the grain sizes, histogram and cumulative curves, for a notebook or to change it.

        Args:
            edge_correction: whether to correct for the frame, as in `stands_for`.
        """
        from grainserve.results.size_figure import size_figure  # noqa: PLC0415

        return size_figure(
            number=self.size_curve("number", edge_correction=edge_correction),
            area=self.size_curve("area", edge_correction=edge_correction),
            unit=self.size_unit,
            edge_grains=sum(grain.touches_edge for grain in self.grains),
            edge_correction=edge_correction,
        )

    def _repr_html_(self) -> str:
        """Shows the result in a notebook."""
        from grainserve.results.notebook import to_html  # noqa: PLC0415

        return to_html(self)


def _grain(data: Mapping[str, Any]) -> Grain:
    # Results from before 2026-11-22 do not say who named the class.
    confidence, source = data.get("classConfidence"), data.get("classSource", "given")
    iou, stability, token = (data.get(name) for name in ("predictedIou", "stabilityScore", "maskToken"))
    return Grain(
        id=int(data["id"]),
        label=str(data["class"]),
        score=float(data["score"]),
        mask=data["mask"],
        properties=data["properties"],
        class_confidence=None if confidence is None else float(confidence),
        class_source=str(source),
        predicted_iou=None if iou is None else float(iou),
        stability_score=None if stability is None else float(stability),
        mask_token=None if token is None else str(token),
    )


def _columns(scaled: bool) -> list[str]:
    columns = ["id", "class", "classConfidence", "classSource", "score"]
    for name in schema("result")["$defs"]["properties"]["properties"]:
        if scaled or not name.endswith(("_um", "_um2")):
            columns += [f"{name}_{part}" for part in _PARTS[name]] if name in _PARTS else [name]
    return columns


def _dtype(name: str) -> str:
    if name in _TEXT:
        return "str"
    if name in _BOOLEAN:
        return "bool"
    return "int64" if name in _WHOLE else "float64"
