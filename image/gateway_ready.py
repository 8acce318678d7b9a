"""Checks whether the gateway in this container is ready; exit code 0 if so.

It is ready when its bucket answers and a worker is ready.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener


def main() -> int:
    """Command line entry: `ready` in the client's image."""
    url = os.environ.get("GRAINSERVE_READY_URL", "http://127.0.0.1:8000/readyz")
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=8):
            print("ready")
            return 0
    except HTTPError as error:
        print(f"{url}: {error.code} {error.read(1000).decode(errors='replace')}")
    except (HTTPException, OSError) as error:
        print(f"{url} does not answer: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
