"""Client of grainserve: microscope images in, tables of measured grains out."""

from __future__ import annotations

import logging

from grainserve.async_client import AsyncClient
from grainserve.client import Client
from grainserve.errors import GrainserveError
from grainserve.result import Grain, Result

__version__ = "0.1.0"

# Silent unless the program that uses the library asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = ["AsyncClient", "Client", "Grain", "GrainserveError", "Result", "__version__"]
