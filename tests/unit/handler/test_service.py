from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grain_handler import service
from grain_handler.errors import ClassifierError
from grain_handler.grains.classify import Classifier, given
from grain_handler.masks import Mask
from grain_handler.sam import compiled
from grain_handler.sam.automask import Embedding
from grain_handler.sam.models import build_sam_tiny
from grain_handler.segment import Segmentation
from grain_handler.storage.weights import Checkpoint
from grain_handler.wire.request import Request, parse
from tests.unit.handler.context import Context
from tests.unit.handler.pictures import encoded, gradient
from tests.unit.labelled import as_properties, draw, make_classifier

PNG = encoded(gradient(), "PNG")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sam_tiny.pth"
    torch.save(build_sam_tiny().state_dict(), path)
    return path


def found(request: Request, properties: dict[str, Any] | None = None) -> Segmentation:
    mask = Mask(1, 2, np.ones((3, 4), bool), 0.9, 0.8)
    return Segmentation(request, [mask], [properties or {"area": 12}], given(request.options.label, 1), 0.5)


Ask = Callable[..., tuple[list[Any], Context]]


@pytest.fixture
def ask(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Sends rows through a worker with given masks; SAM itself is tested elsewhere."""

    def send(
        rows: list[dict[str, Any]], step: Callable[[Request], Segmentation] = found, **settings: Any
    ) -> tuple[list[Any], Context]:
        context = Context(checkpoint, **settings)
        handler = service.GrainHandler()
        handler.initialize(context)
        monkeypatch.setattr(handler.generator, "embed", lambda images: torch.zeros(len(images), 1))
        monkeypatch.setattr(service, "find_masks", lambda _generator, request, embedding: step(request))
        monkeypatch.setattr(service, "measure", lambda segmentation, _classifier: segmentation)
        bodies = handler.handle(rows, context)
        return [json.loads(body) if isinstance(body, bytes) else body for body in bodies], context

    return send


def test_an_answer_follows_the_contract(ask: Ask, checkpoint: Path) -> None:
    (answer,), context = ask([{"image": PNG, "label": b"quartz", "um_per_px": b"2"}])
    metadata = answer["metadata"]
    assert (metadata["imageId"], metadata["model"], metadata["version"]) == ("request-0", "sam_tiny", "2.1")
    assert metadata["checkpoint"]["uri"] == str(checkpoint)
    assert metadata["image"] == {"width": 32, "height": 24, "format": "PNG", "mode": "RGB", "bytes": len(PNG)}
    assert metadata["units"] == {
        "length": "px",
        "area": "px²",
        "angle": "degree",
        "umPerPx": 2.0,
        "scaleSource": "given",
    }
    assert metadata["options"]["label"] == "quartz"
    assert metadata["timestamp"].endswith("Z")
    (grain,) = answer["segmentedObjects"]
    assert (grain["id"], grain["class"], grain["score"]) == (1, "quartz", pytest.approx(0.72))
    assert grain["mask"]["size"] == [24, 32]
    assert context.statuses == {0: 200}
    assert context.types == {0: "application/json"}


def test_an_answer_says_what_was_changed_in_its_image(ask: Ask) -> None:
    deep = gradient()[..., 0].astype(np.uint16) * 10 + 1000
    (answer, plain), _ = ask([{"image": encoded(deep, "TIFF")}, {"image": PNG}])
    (warning,) = answer["metadata"]["warnings"]
    assert warning.startswith(f"grey levels {deep.min()} to {deep.max()} were stretched to 0 to 255")
    assert plain["metadata"]["warnings"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, None),
        ({"scale_source": "OME-XML"}, None),
        ({"um_per_px": 2}, "given"),
        ({"um_per_px": 2, "scale_source": "scale bar, 222 px = 50 µm"}, "scale bar, 222 px = 50 µm"),
    ],
)
def test_an_answer_says_where_its_scale_is_from(ask: Ask, options: dict[str, object], said: str | None) -> None:
    image = {"image": base64.b64encode(PNG).decode()}
    (answer,), _ = ask([{"body": image | options}])
    assert answer["metadata"]["units"]["scaleSource"] == said


def test_a_trace_is_in_the_answer_and_in_the_log(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "grain_handler.worker.logs")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = [
        {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{trace}-00f067aa0ba902b8-01"},
        {},
    ]
    answers, _ = ask([{"image": PNG}, {"body": b"hello"}, {"image": PNG}], headers=headers)
    assert answers[0]["metadata"]["traceId"] == trace
    assert "traceId" not in answers[2]["metadata"], "clients that do not trace may not know of it"
    lines = [json.loads(message) for message in caplog.messages]
    assert [(line["status"], line.get("traceId")) for line in lines] == [(200, trace), (415, trace), (200, None)]


def test_each_row_of_a_batch_has_its_own_answer(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "grain_handler.worker.logs")

    def step(request: Request) -> Segmentation:
        if request.image_id == "broken":
            raise ZeroDivisionError("a fault of ours")
        if request.image_id == "hungry":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if request.image_id == "nan":
            return found(request, {"area": float("nan")})
        return found(request)

    ids = ["first", "broken", "hungry", "nan", "last"]
    rows: list[dict[str, Any]] = [{"image": PNG, "imageId": image_id.encode()} for image_id in ids]
    answers, context = ask([*rows, {"body": b"hello"}], step)
    assert context.statuses == {0: 200, 1: 500, 2: 507, 3: 500, 4: 200, 5: 415}
    assert [answer["metadata"]["imageId"] for answer in (answers[0], answers[4])] == ["first", "last"]
    codes = [answers[i]["error"]["code"] for i in (1, 2, 3, 5)]
    assert codes == ["internal_error", "out_of_memory", "internal_error", "not_an_image"]
    assert "ZeroDivision" not in answers[1]["error"]["message"]

    logged = [json.loads(record.message) for record in caplog.records if record.name == "grain_handler.worker.logs"]
    told = {(line["imageId"], line["status"]) for line in logged if line["event"] == "answered"}
    assert told == {("first", 200), ("broken", 500), ("hungry", 507), ("nan", 500), ("last", 200), ("request-5", 415)}
    faults = {line["imageId"]: line["traceback"] for line in logged if line["event"] == "fault"}
    assert faults.keys() == {"broken", "hungry", "nan"}
    assert "ZeroDivisionError: a fault of ours" in faults["broken"]


def test_a_fault_in_reading_one_row_does_not_touch_the_rest(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:

    def faulty(row: dict[str, Any], *rest: Any, **named: Any) -> Any:
        if "body" in row:
            raise ZeroDivisionError("a fault of ours")
        return parse(row, *rest, **named)

    monkeypatch.setattr(service, "parse", faulty)
    answers, context = ask([{"image": PNG}, {"body": b"x"}, {"image": PNG}])
    assert context.statuses == {0: 200, 1: 500, 2: 200}
    assert answers[1]["error"]["code"] == "internal_error"


def test_the_images_of_a_batch_are_embedded_together_and_answered_as_if_alone(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(checkpoint, precision="fp32")
    handler = service.GrainHandler()
    handler.initialize(context)
    embedded: list[int] = []
    embed = handler.generator.embed

    def counted(images: list[Any]) -> list[Embedding]:
        embedded.append(len(images))
        return embed(images)

    monkeypatch.setattr(handler.generator, "embed", counted)
    options = {"points_per_side": b"2", "pred_iou_thresh": b"0", "stability_score_thresh": b"0", "mode": b"masks"}
    options |= {"max_area_fraction": b"1", "min_area": b"0"}
    rows = [{"image": encoded(gradient(*size), "PNG"), **options} for size in ((40, 30), (30, 40))]
    together = [
        json.loads(body)["segmentedObjects"]
        for body in handler.handle([rows[0], {"body": b"x"}, rows[1]], context)
        if b"segmentedObjects" in body
    ]
    assert embedded == [2]
    alone = [json.loads(handler.handle([row], context)[0])["segmentedObjects"] for row in rows]
    assert together == alone
    assert all(alone), "the images have objects to compare"


def test_a_worker_with_a_classifier_names_classes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_classifier(tmp_path).save(tmp_path / "minerals.skops")
    monkeypatch.setenv("MINERALS", str(tmp_path / "minerals.skops"))
    handler = service.GrainHandler()
    handler.initialize(Context(checkpoint, classifier="${MINERALS}"))
    (quartz,) = draw(np.random.default_rng(1), 0.0, 1)

    def measured(request: Request, classifier: Classifier) -> Segmentation:
        segmentation = found(request, as_properties(quartz))
        return replace(segmentation, classes=classifier.name(segmentation.properties))

    monkeypatch.setattr(handler.generator, "embed", lambda images: torch.zeros(len(images), 1))
    monkeypatch.setattr(service, "find_masks", lambda _generator, request, _embedding: request)
    monkeypatch.setattr(service, "measure", measured)
    answer = json.loads(handler.handle([{"image": PNG, "label": b"sand"}], handler.context)[0])
    (grain,) = answer["segmentedObjects"]
    assert (grain["class"], grain["classSource"]) == ("quartz", "classifier")
    assert grain["classConfidence"] > 0.99
    about = answer["metadata"]["classifier"]
    assert about == handler.describe_handle()["classifier"]
    assert (about["uri"], about["classes"]) == (str(tmp_path / "minerals.skops"), ["biotite", "quartz"])


def test_a_worker_with_a_file_that_is_no_classifier_does_not_start(checkpoint: Path) -> None:
    with pytest.raises(ClassifierError, match=r"sam_tiny\.pth cannot be read, it is damaged or no classifier"):
        service.GrainHandler().initialize(Context(checkpoint, classifier=str(checkpoint)))


def test_masks_are_found_in_inference_and_measured_in_postprocess_in_the_order_of_the_batch(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = service.GrainHandler()
    handler.initialize(Context(checkpoint))
    steps: list[tuple[str, str]] = []

    def find(_generator: object, request: Request, _embedding: object) -> Segmentation:
        steps.append(("find", request.image_id))
        return found(request)

    def measure(segmentation: Segmentation, _classifier: object) -> Segmentation:
        steps.append(("measure", segmentation.request.image_id))
        return segmentation

    monkeypatch.setattr(handler.generator, "embed", lambda images: torch.zeros(len(images), 1))
    monkeypatch.setattr(service, "find_masks", find)
    monkeypatch.setattr(service, "measure", measure)
    made = handler.inference(handler.preprocess([{"image": PNG, "imageId": name} for name in (b"first", b"second")]))
    assert steps == [("find", "first"), ("find", "second")]
    bodies = handler.postprocess(made)
    assert steps[2:] == [("measure", "first"), ("measure", "second")]
    assert [json.loads(body)["metadata"]["imageId"] for body in bodies] == ["first", "second"]


def test_a_fault_in_measuring_is_its_own_images(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(checkpoint)
    handler = service.GrainHandler()
    handler.initialize(context)
    faults = {"broken": ZeroDivisionError("a fault of ours"), "hungry": MemoryError("no array")}

    def measure(segmentation: Segmentation, _classifier: object) -> Segmentation:
        if fault := faults.get(segmentation.request.image_id):
            raise fault
        return segmentation

    monkeypatch.setattr(handler.generator, "embed", lambda images: torch.zeros(len(images), 1))
    monkeypatch.setattr(service, "find_masks", lambda _generator, request, embedding: found(request))
    monkeypatch.setattr(service, "measure", measure)
    rows = [{"image": PNG, "imageId": name} for name in (b"first", b"broken", b"hungry", b"last")]
    answers = [json.loads(body) for body in handler.handle(rows, context)]
    assert context.statuses == {0: 200, 1: 500, 2: 507, 3: 200}
    assert [answers[i]["error"]["code"] for i in (1, 2)] == ["internal_error", "out_of_memory"]
    assert [answers[i]["metadata"]["imageId"] for i in (0, 3)] == ["first", "last"]


def test_a_broken_device_ends_the_worker(ask: Ask) -> None:
    def step(request: Request) -> Segmentation:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(SystemExit):
        ask([{"image": PNG}], step)


@pytest.mark.parametrize("broken", [True, False])
def test_a_library_s_error_ends_the_worker_if_the_device_is_broken(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    def step(request: Request) -> Segmentation:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")

    def synchronize() -> None:
        if broken:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    if broken:
        with pytest.raises(SystemExit):
            ask([{"image": PNG}], step)
    else:
        (answer,), context = ask([{"image": PNG}], step)
        assert context.statuses == {0: 500}
        assert answer["error"]["code"] == "internal_error"


def test_an_answer_too_long_says_so_instead_of_killing_the_worker(ask: Ask) -> None:
    (answer,), context = ask([{"image": PNG}], max_answer_bytes=600)
    assert context.statuses == {0: 422}
    assert answer["error"]["code"] == "answer_too_large"


def test_explanations_are_refused_and_predictions_beside_them_answered(ask: Ask) -> None:
    for headers in ([{"explain": "True"}, {}], [{}, {"explain": "True"}]):
        answers, context = ask([{"image": PNG}, {"image": PNG}], headers=headers)
        refused = headers.index({"explain": "True"})
        assert context.statuses == {refused: 405, 1 - refused: 200}
        assert answers[refused]["error"]["code"] == "explanations_unsupported"


def test_describe_names_the_checkpoint(ask: Ask, checkpoint: Path) -> None:
    (description,), _ = ask([{}], headers=[{"describe": "True"}])
    assert description["checkpoint"]["uri"] == str(checkpoint)
    assert description["checkpoint"]["crc32c"]
    assert description["device"] == "cpu"
    assert description["precision"] in {"fp32", "bf16"}, "auto is resolved when the worker starts"
    assert description["threads"] == torch.get_num_threads()
    assert description["defaults"]["points_per_side"] == 32
    assert description["encoder"] == {"compiled": False}


def test_a_compiled_encoder_is_fetched_loaded_and_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """test_compiled.py tests compiling and loading."""
    (tmp_path / "some.pt2").write_bytes(b"a package")
    monkeypatch.setenv("PACKAGES", str(tmp_path))
    loaded = torch.nn.Identity()
    asked: list[tuple[Path, str, str]] = []

    def load(package: Checkpoint, _stock: torch.nn.Module, model: str, precision: str) -> torch.nn.Module:
        asked.append((package.path, model, precision))
        return loaded

    monkeypatch.setattr(compiled, "load", load)
    handler = service.GrainHandler()
    handler.initialize(Context(checkpoint, encoder_package="${PACKAGES}/some.pt2", precision="bf16"))
    assert asked == [(tmp_path / "some.pt2", "sam_tiny", "bf16")]
    assert handler.generator.encoder is loaded
    told = handler.describe_handle()["encoder"]
    assert told == {"compiled": True, "uri": str(tmp_path / "some.pt2"), "generation": None, "crc32c": "Z/DRbw=="}


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"defaults": {"pred_iou_tresh": 0.5}}, "pred_iou_tresh"),
        ({"checkpoint": "gs://${NO_SUCH_VARIABLE}/x.pth"}, "NO_SUCH_VARIABLE"),
        ({"checkpoint": "no/such/file.pth"}, "no such file"),
        ({"model": "sam_vit_b"}, "is a checkpoint of sam_tiny"),
        ({"modle": "sam_tiny"}, "modle"),
        ({"precision": "fp64"}, "precision"),
        ({"precision": "int8"}, "TinyImageEncoder has none"),
        ({"memory_mib": 0}, "memory_mib"),
        ({"encoder_package": "no/such/package.pt2"}, "no such file"),
        ({"encoder_package": "${NO_SUCH_VARIABLE}/x.pt2"}, "NO_SUCH_VARIABLE"),
        ({"encoder_package": __file__}, "is not an encoder package"),
    ],
)
def test_a_wrong_config_stops_the_worker_with_its_reason(
    checkpoint: Path, section: dict[str, Any], reason: str
) -> None:
    context = Context(checkpoint)
    context.model_yaml_config["grainserve"] |= section
    with pytest.raises(Exception, match=reason):
        service.GrainHandler().initialize(context)
