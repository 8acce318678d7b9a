from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

import grainserve
from grainserve import errors

ERRORS = {name: each for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
PUBLIC = [getattr(grainserve, name) for name in ("AsyncClient", "Client", "Grain", "Result")]


def test_every_error_can_be_imported_from_the_top() -> None:
    assert {name: getattr(grainserve, name) for name in ERRORS} == ERRORS
    assert set(ERRORS) <= set(grainserve.__all__) == {name for name in grainserve.__all__ if name in dir(grainserve)}


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.__name__)
def test_every_error_that_a_docstring_names_can_be_imported_from_the_top(public: type) -> None:
    bases = public.__mro__[:-1]
    raises = [(inspect.getdoc(each) or "").partition("Raises:\n")[2] for base in bases for each in vars(base).values()]
    entries = re.findall(r"^ *([A-Z]\w+(?:, [A-Z]\w+)*): ", "\n".join(raises), re.MULTILINE)
    named = {name for entry in entries for name in entry.split(", ")}
    assert named or public in (grainserve.AsyncClient, grainserve.Grain)
    assert {name for name in named if not hasattr(grainserve, name)} == set()


def test_the_client_is_imported_when_it_is_used() -> None:
    program = (
        "import sys, grainserve; assert 'grainserve.client' not in sys.modules; print(grainserve.Client.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "grainserve.client\n"


def test_a_name_that_does_not_exist_is_no_attribute() -> None:
    assert not hasattr(grainserve, "Kitten")
    with pytest.raises(ImportError):
        exec("from grainserve import Kitten")
