"""Which modules of Python's library go into the boot image."""

from pathlib import Path

import pytest

from lpmos.images.python_selection import imported_modules, is_selected


@pytest.mark.parametrize(
    "path",
    [
        "json/decoder.py",
        "http/client.py",
        "ssl.py",
        "encodings/utf_8.py",
        "email/parser.py",
        "lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
    ],
)
def test_is_selected_takes_what_the_agent_runs_on(path: str) -> None:
    assert is_selected(Path(path))


@pytest.mark.parametrize(
    "path",
    [
        "test/test_json.py",
        "tkinter/__init__.py",
        "pydoc.py",
        "json/__pycache__/decoder.cpython-311.pyc",
        "encodings/big5.py",
        "config-3.11-x86_64-linux-gnu/Makefile",
        "dist-packages/README",
        "lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so",
        "LICENSE.txt",
    ],
)
def test_is_selected_leaves_out_what_it_never_imports(path: str) -> None:
    assert not is_selected(Path(path))


def test_imported_modules_are_found_also_inside_functions() -> None:
    source = (
        "import os.path, json\nfrom urllib.parse import urlsplit\nfrom . import near\n"
        "def later():\n    import ssl\n"
    )
    assert list(imported_modules([source, "import json"])) == [
        "json", "os.path", "ssl", "urllib.parse"
    ]  # fmt: skip
