"""The serving benchmark's own parts: clients, their figures, and the example's answer."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import serving
from benchmarks.side_by_side import load, picture
from benchmarks.side_by_side.example_handler import ExampleHandler
from benchmarks.side_by_side.systems import ask_example, ask_ours, count_example
from tests.unit.handler.pictures import encoded, gradient
from tools import ports
from tools.problem import Problem


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3.0], 0.5, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        ([5.0, 1.0, 3.0], 0.5, 3.0),
        ([float(n) for n in range(1, 51)], 0.99, 50.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
    ],
)
def test_a_percentile_is_a_value_that_occurred(values: list[float], share: float, expected: float) -> None:
    assert load.percentile(values, share) == expected


def test_a_level_counts_what_was_answered_over_its_whole_time() -> None:
    answers = [
        load.Answer(sent=11.0, seconds=3.0, bytes=7, failure=None),
        load.Answer(sent=10.0, seconds=1.0, bytes=9, failure=None),
        load.Answer(sent=10.0, seconds=0.1, bytes=0, failure="503"),
    ]
    figures = load.Level(2, answers).figures()
    assert figures["images_per_second"] == 0.5
    assert figures["failures"] == 1
    assert figures["latencies_s"] == [1.0, 3.0]
    assert (figures["p50_s"], figures["p99_s"], figures["answer_bytes"]) == (1.0, 3.0, 9)


def test_a_line_half_written_is_left_for_later() -> None:
    whole = '{"sent": 1.0, "seconds": 2.0, "bytes": 3, "failure": null}\n'
    assert load.read_answers(whole + whole[:20]) == [load.Answer(1.0, 2.0, 3, None)]


class Service(ThreadingHTTPServer):
    """A server that answers 503 to every third request; it records requests and how many came at once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Reply)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[tuple[str, str | None, bytes]] = []
        self.open = self.most = 0
        self.lock = threading.Lock()
        self.pause = threading.Event()


class Reply(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.asked.append((self.path, self.headers["Content-Type"], body))
            number = len(self.server.asked)
            self.server.open += 1
            self.server.most = max(self.server.most, self.server.open)
        self.server.pause.wait(0.05)
        with self.server.lock:
            self.server.open -= 1
        self.send_response(503 if number % 3 == 0 else 200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_clients_send_exactly_the_requests_wanted(service: Service, tmp_path: Path) -> None:
    ask = load.Ask("/predictions/model", b"\x00image", "image/png")
    level = load.run(service.url, ask, clients=4, requests=9, folder=tmp_path)
    assert service.asked == [("/predictions/model", "image/png", b"\x00image")] * 9
    assert 1 < service.most <= 4
    figures = level.figures()
    assert (len(figures["latencies_s"]), figures["failures"], figures["answer_bytes"]) == (6, 3, 4)
    assert min(figures["latencies_s"]) >= 0.05


def test_a_server_that_is_not_there_is_a_problem_in_words(tmp_path: Path) -> None:
    (unused,) = ports.choose_free(1)
    with pytest.raises(Problem, match="answered none of 2 requests"):
        load.run(
            f"http://127.0.0.1:{unused}", load.Ask("/x", b"", "text/plain"), clients=1, requests=2, folder=tmp_path
        )


def test_our_form_carries_image_and_options() -> None:
    ask = ask_ours(b"\x00image", {"points_per_side": 12})
    assert ask.content_type.startswith("multipart/form-data; boundary=")
    assert b"\x00image" in ask.body
    assert b'name="points_per_side"\r\n\r\n12\r\n' in ask.body


def test_the_example_takes_base64_and_answers_with_a_pickle() -> None:
    handler = ExampleHandler()
    masks = [{"segmentation": {"size": [24, 32], "counts": "abc"}, "area": 12}] * 3
    handler.generator = SimpleNamespace(generate=lambda image: masks if image.shape == (24, 32, 3) else [])
    png = encoded(gradient(), "PNG")
    images = handler.preprocess([{"body": ask_example(png).body.decode()}])
    np.testing.assert_array_equal(images[0], gradient())
    (answer,) = handler.postprocess(handler.inference(images))
    base64.b64decode(answer, validate=True)
    assert count_example(answer.encode()) == 3
    with pytest.raises(AssertionError, match="one image at a time"):
        handler.inference(images * 2)


def test_the_overhead_is_a_share_of_the_time_without_torchserve() -> None:
    cost = serving.overhead(before=[2.0, 2.0, 9.0], after=[2.0, 2.0], served=[2.1, 2.1, 1.0])
    assert cost["overhead_share"] == pytest.approx(0.05)


def test_the_picture_is_drawn_for_any_number_of_levels(tmp_path: Path) -> None:
    row = {"images_per_second": 0.5, "p50_s": 2.0, "p99_s": 2.0}
    for clients in ([1], [1, 2, 4]):
        levels = [{"clients": count, "throughput_ratio": 1.0, "ours": row, "example": row} for count in clients]
        options, machine = {"image_side": 64, "points_per_side": 2}, {"cores": 2}
        picture.draw({"levels": levels, "options": options, "machine": machine}, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_gevent_stays_in_the_clients_process() -> None:
    assert "gevent" not in sys.modules
