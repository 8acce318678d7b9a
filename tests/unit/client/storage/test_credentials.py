"""Credentials of GCS stay out of errors and logs, even if they cause the error."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from grainserve.errors import StorageError
from grainserve.storage.bucket import Bucket


def service_account(folder: Path, key: str) -> Path:
    """Makes a file for GOOGLE_APPLICATION_CREDENTIALS whose token address nobody listens on."""
    account = {
        "type": "service_account",
        "project_id": "lab",
        "private_key_id": "k" * 40,
        "private_key": key,
        "client_email": "worker@lab.example",
        "token_uri": "http://127.0.0.1:1/token",
    }
    file = folder / "credentials.json"
    file.write_text(json.dumps(account))
    return file


def pem() -> str:
    form = serialization.PrivateFormat.PKCS8
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.mark.parametrize("damaged", [False, True])
def test_credentials_are_neither_logged_nor_in_errors(
    damaged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = pem()
    lines = key.splitlines()[1:-1]
    if damaged:  # as after pasting into a secret store
        key = key.replace("\n", "")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, key)))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    caplog.set_level(logging.DEBUG)
    with pytest.raises((StorageError, ValueError)) as failure:
        Bucket("grains", patience=1).read("jobs/a.json")
    said = caplog.text + "".join(traceback.format_exception(failure.value))
    assert not [line for line in lines if line in said]
