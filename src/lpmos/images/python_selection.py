"""Which part of Python's standard library goes into the boot image.

Left out is what a program without a screen, a user and a database never imports. The build compiles
the agent against the selection and imports all that the agent imports, so a module that is missed
here stops the build and not a machine.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LEFT_OUT_PACKAGES = _names(
    # tests, development, documentation
    "test idlelib lib2to3 ensurepip distutils pydoc_data unittest venv __phello__ turtledemo"
    # screens, databases, other protocols and ways to run
    " tkinter curses dbm sqlite3 wsgiref xml xmlrpc multiprocessing msilib asyncio"
)
_LEFT_OUT_MODULES = _names(
    # development, documentation, toys
    "turtle pydoc doctest pdb bdb cmd code codeop trace tracemalloc profile cProfile pstats"
    " symtable tabnanny pyclbr modulefinder pickletools antigravity this rlcompleter zipapp"
    # protocols and formats of another time
    " cgi cgitb mailbox mailcap imaplib nntplib telnetlib smtplib smtpd poplib ftplib chunk aifc"
    " wave sndhdr imghdr sunau xdrlib uu colorsys plistlib webbrowser crypt netrc optparse"
    # numbers beyond int and float, and Python's own stand-ins for what is built in
    " statistics decimal _pydecimal fractions _pyio"
    # other systems
    " ntpath nturl2path msilib"
)
_KEPT_ENCODINGS = _names(
    "__init__ aliases ascii cp437 idna latin_1 punycode utf_16 utf_8 utf_8_sig"
)
_LEFT_OUT_EXTENSIONS = (
    *("_dbm", "_sqlite3", "_tkinter", "_curses", "readline", "nis", "ossaudiodev", "audioop"),
    *("_asyncio", "_codecs_", "_crypt", "_ctypes_test", "_decimal", "_elementtree", "_lsprof"),
    *("_multi", "_posixshmem", "_test", "_xx", "xx"),
)
"""Beginnings of names in `lib-dynload`."""


def is_selected(relative: Path) -> bool:
    """Whether a file goes in; `relative` is its path below Python's library directory."""
    first = relative.parts[0]
    if "__pycache__" in relative.parts or first.startswith("config-"):
        return False
    if first == "lib-dynload":
        return relative.suffix == ".so" and not relative.name.startswith(_LEFT_OUT_EXTENSIONS)
    if relative.suffix != ".py":
        return False
    if len(relative.parts) == 1:
        return relative.stem not in _LEFT_OUT_MODULES
    if first == "encodings":
        return relative.stem in _KEPT_ENCODINGS
    return first not in _LEFT_OUT_PACKAGES and first != "dist-packages"


def imported_modules(sources: Iterable[str]) -> Iterator[str]:
    """The absolute names that Python sources import, also inside functions, each once, sorted."""
    names: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module)
    return iter(sorted(names))
