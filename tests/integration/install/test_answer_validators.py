"""Answer files of every sample task, by the validators that there are outside of this project."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from lxml import etree

from lpmos.install import answers
from lpmos.install.answers import samples
from lpmos.model.installer import Family
from tests.support.answer_schemas import AUTOINSTALL, AUTOYAST, UNATTEND


def made(family: Family) -> Iterator[str]:
    """The answer file of each sample task."""
    for task, manifest in samples.tried(answers.FAMILIES[family]):
        secrets = samples.sealed(task)
        yield answers.render(family, answers.variables(task, manifest, samples.URLS, secrets))


DEBCONF = """\
Config: config
Templates: templates

Name: config
Driver: File
Filename: {0}/config.dat

Name: templates
Driver: File
Filename: {0}/templates.dat
"""


def test_preseed_is_taken_by_debconf(tmp_path: Path) -> None:
    """By a database of its own: the machine's is locked while packages are installed."""
    configuration = tmp_path / "debconf.conf"
    configuration.write_text(DEBCONF.format(tmp_path))
    for text in made("debian"):
        done = subprocess.run(
            ["debconf-set-selections", "--checkonly"],
            env={**os.environ, "DEBCONF_SYSTEMRC": str(configuration)},
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_autoinstall_has_nothing_that_the_reference_does_not_name() -> None:
    validator = Draft202012Validator(AUTOINSTALL)
    for text in made("ubuntu"):
        wrong = [error.message for error in validator.iter_errors(yaml.safe_load(text))]
        assert wrong == []


def test_autoyast_is_valid_by_the_schema_of_its_parts() -> None:
    schema = etree.RelaxNG(etree.fromstring(AUTOYAST))
    for text in made("suse"):
        assert schema.validate(etree.fromstring(text.encode())), schema.error_log


@pytest.mark.parametrize("change", [("<use>all</use>", "<use>some</use>"), ("keymap", "keymapp")])
def test_autoyast_schema_refuses_what_it_does_not_know(change: tuple[str, str]) -> None:
    schema = etree.RelaxNG(etree.fromstring(AUTOYAST))
    text = next(made("suse")).replace(*change)
    assert not schema.validate(etree.fromstring(text.encode()))


def test_unattend_is_valid_by_the_schema_of_its_components() -> None:
    schema = etree.RelaxNG(etree.fromstring(UNATTEND))
    for text in made("windows"):
        assert schema.validate(etree.fromstring(text.encode())), schema.error_log


@pytest.mark.parametrize(
    "change",
    [
        ("<PlainText>true</PlainText>", ""),
        ("Identifier>52-54-00-00-00-01", "Identifier>52:54:00:00:00:01"),
        ("<ComputerName>sample<", "<ComputerName>a-name-of-16-char<"),
        ("HideEULAPage", "HideEULA"),
        ('pass="specialize"', 'pass="windowsPE"'),
    ],
)
def test_unattend_schema_refuses_what_it_does_not_know(change: tuple[str, str]) -> None:
    schema = etree.RelaxNG(etree.fromstring(UNATTEND))
    text = next(made("windows"))
    assert change[0] in text
    assert not schema.validate(etree.fromstring(text.replace(*change).encode()))
