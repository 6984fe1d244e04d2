import subprocess
import sys
from importlib import metadata

import pytest

import bamsearch


def test_one_list_of_public_names():
    assert set(bamsearch.__all__) == {*bamsearch.HOMES, "__version__"}
    assert bamsearch.__all__ == sorted(bamsearch.__all__)
    assert set(bamsearch.__all__) <= set(dir(bamsearch))


@pytest.mark.parametrize("name", bamsearch.__all__)
def test_a_public_name_is_there_and_documented(name):
    value = getattr(bamsearch, name)
    assert name == "__version__" or value.__doc__


def test_version():
    assert bamsearch.__version__ == metadata.version("bamsearch")


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bamsearch.nonsense


def test_import_alone_loads_no_torch():
    code = "import sys, bamsearch; bamsearch.Design; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
