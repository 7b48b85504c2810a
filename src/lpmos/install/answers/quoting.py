"""A user's text in its place: one function for each language that an answer file is written in.

The rule: every value that a template sees went through the function of its family, so no template,
not even an operator's own, can be broken out of by a text; templates put no quotes around values.

Sources: the shell command language of POSIX.1-2017 section 2.2, JSON (RFC 8259) as a part of
YAML 1.2, XML 1.0 sections 2.2 and 2.4, yast2's `XML.rb`, debconf's preseed lines, kickstart's words
(shlex).
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from lpmos.model.errors import FieldProblem, InvalidInput

Encode = Callable[[str], str]

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_CDATA = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENDS = re.compile(r"\A[\t\n ]+|[\t\n ]+\Z")
_NOT_PRESEED = re.compile("[\0\r]")
_SECTION = re.compile(r"(?m)^(?=[ \t]*%)")


def shell(text: str) -> str:
    """One word of a shell; no line of it begins with what ends a section of a kickstart file."""
    word = "'" + text.replace("'", "'\\''") + "'"
    head, newline, rest = word.partition("\n")
    return head + newline + _SECTION.sub("''", rest) if newline else word


def yaml(text: str) -> str:
    """A scalar of YAML, quoted as JSON."""
    return yaml_flow(text)


def yaml_flow(value: Any) -> str:
    """A plain value as YAML in one line: JSON, but for characters that YAML would not keep.

    JSON names those beyond U+FFFF by two escapes, which YAML reads as two characters.
    """
    found = json.dumps(value, ensure_ascii=False)
    if found.isprintable():
        return found
    return "".join(one if one.isprintable() else f"\\U{ord(one):08X}" for one in found)


def kickstart(text: str) -> str:
    """One word of a kickstart command; a line's end is a space."""
    return shlex.quote(_CONTROL.sub(" ", text))


def preseed(text: str) -> str:
    """The value of a preseed line; a line's end is a space, and no line goes on in the next."""
    line = _CONTROL.sub(" ", text)
    return f"{line} " if line.endswith("\\") else line


def xml(text: str) -> str:
    """Text of an XML element or attribute; what XML has no place for is U+FFFD."""
    text = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
    for character, entity in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39")):
        text = text.replace(character, f"&{entity};")
    return text.replace("\r", "&#13;")


def yast(text: str) -> str:
    """Text of an element that YaST reads: it leaves out the spaces at its ends, but for CDATA's."""
    return _ENDS.sub(lambda found: f"<![CDATA[{found[0]}]]>", xml(text))


def each(value: Any, encode: Encode) -> Any:
    """A plain value with every text in it encoded, names of mappings aside."""
    if isinstance(value, str):
        return encode(value)
    if isinstance(value, dict):
        return {name: each(part, encode) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [each(part, encode) for part in value]
    return value


def yaml_block(script: str, indent: int) -> str:
    """A script as a literal block of YAML, or as one quoted line where it cannot stand so."""
    if not all(character.isprintable() or character in "\n\t" for character in script):
        return yaml(script)
    margin = " " * indent
    return "|\n" + "\n".join(f"{margin}{line}" if line else "" for line in script.split("\n"))


def preseed_script(script: str, place: str) -> str:
    """A preseed value that writes a script to a file and runs it with `sh`.

    Each line of the script is a word of printf(1), and all of them are one line of the file: the
    installer starts several programs for each line that it reads. There is no backslash in the
    value, as cdebconf makes two characters of some of them into one when its database is read
    again: the shell variable `b` is one.

    Raises:
        InvalidInput: the script has a carriage return, which Debian's installer leaves out.
    """
    _check(_NOT_PRESEED, script, "a preseed file")
    lines = script.rstrip("\n").split("\n")
    joined = " ".join(_without_backslash(line) for line in lines)
    return (
        """b=$(awk 'BEGIN { printf "%c", 92 }'); """
        f'mkdir -p {_folder(place)}; printf "%s${{b}}n" {joined} >{place}; sh {place}'
    )


def _without_backslash(line: str) -> str:
    """One word of a shell whose variable `b` is a backslash."""
    inner = line.replace("'", """'"'"'""").replace("\\", """'"$b"'""")
    return f"'{inner}'"


def cdata(script: str) -> str:
    """A script in XML, readable.

    Raises:
        InvalidInput: the script has a character that XML has no place for, or would change.
    """
    _check(_NOT_CDATA, script, "XML")
    return f"<![CDATA[\n{script.replace(']]>', ']]]]><![CDATA[>')}]]>"


def words(texts: Iterable[str]) -> str:
    """Words of a shell, with spaces between them."""
    return " ".join(shell(text) for text in texts)


def _check(forbidden: re.Pattern[str], script: str, language: str) -> None:
    if found := forbidden.search(script):
        text = f"has a character (U+{ord(found[0]):04X}) that cannot stand in {language}"
        raise InvalidInput(FieldProblem("setup", text))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
