from __future__ import annotations

import pytest

from tools.image_run import mount_options


@pytest.mark.parametrize(
    ("docker", "mount"),
    [
        ("rw,exec,size=4g", "mode=1777,nosuid,nodev,size=4g"),
        ("rw,size=512m", "mode=1777,nosuid,nodev,noexec,size=512m"),
        ("", "mode=1777,nosuid,nodev,noexec"),
    ],
)
def test_a_tmpfs_has_the_options_that_docker_gives_it(docker: str, mount: str) -> None:
    assert mount_options(docker) == mount
