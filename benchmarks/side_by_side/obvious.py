"""The obvious design, for comparison: a Flask server that keeps jobs in its memory, with a thread for each upload.

python -m benchmarks.side_by_side.obvious PORT INFERENCE_URL
"""

from __future__ import annotations

import base64
import sys
import threading
import uuid
from typing import Any

import requests
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue


def make_app(inference: str) -> Flask:
    """Makes a Flask app with upload and poll over a dictionary."""
    app = Flask(__name__)
    jobs: dict[str, dict[str, Any]] = {}

    def work(image_id: str, image: bytes) -> None:
        body = {"image": base64.b64encode(image).decode(), "imageId": image_id}
        answer = requests.post(f"{inference}/predictions/sam_tiny", json=body, timeout=600)
        jobs[image_id] = {"state": "done" if answer.ok else "failed", "result": answer.json()}

    @app.post("/upload")
    def upload() -> ResponseReturnValue:
        image_id = uuid.uuid4().hex
        jobs[image_id] = {"state": "running"}
        threading.Thread(target=work, args=(image_id, request.get_data()), daemon=True).start()
        return jsonify(imageId=image_id), 202

    @app.get("/image-analysis")
    def analysis() -> ResponseReturnValue:
        job = jobs.get(request.args["imageId"])
        return (jsonify(job), 200 if job["state"] == "done" else 202) if job else (jsonify(error="unknown"), 404)

    return app


if __name__ == "__main__":
    make_app(sys.argv[2]).run(port=int(sys.argv[1]), threaded=True)
