"""The parts of LPMOS that run here, read from a made-up `/proc`."""

from pathlib import Path

from lpmos.cli.running_parts import part_arguments, running_parts


def process(proc: Path, pid: int, *words: str, **environment: str) -> None:
    entry = proc / str(pid)
    entry.mkdir()
    (entry / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    pairs = (f"{name}={value}" for name, value in environment.items())
    (entry / "environ").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))


def test_running_part_has_the_settings_that_it_was_started_with(tmp_path: Path) -> None:
    process(tmp_path, 1, "/sbin/init")
    process(tmp_path, 12, "/x/python3", "/x/lpmos", "region", "--idc", "dc9", API_PORT="9000")
    process(tmp_path, 3, "bash", "-c", "lpmos up")
    (found,) = running_parts(tmp_path)
    assert (found.pid, found.part) == (12, "region")
    assert found.settings is not None
    assert (found.settings.idc, found.settings.api_port) == ("dc9", 9000)


def test_running_part_with_settings_that_are_not_understood_is_told(tmp_path: Path) -> None:
    process(tmp_path, 12, "/x/lpmos", "up", "--api-port", "many")
    process(tmp_path, 13, "/x/lpmos", "up", "--config", str(tmp_path / "none.toml"))
    for found in running_parts(tmp_path):
        assert found.settings is None and found.problem


def test_running_part_whose_environment_is_secret_is_read_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    process(tmp_path, 12, "/x/lpmos", "control-plane")
    (tmp_path / "12" / "environ").unlink()
    (found,) = running_parts(tmp_path)
    assert found.settings is not None


def test_processes_that_only_speak_of_lpmos_are_none(tmp_path: Path) -> None:
    assert part_arguments(["/x/lpmos", "task", "list"]) is None
    assert part_arguments(["lpmos"]) is part_arguments([]) is part_arguments(["vi", "up"]) is None
    process(tmp_path, 12)
    assert list(running_parts(tmp_path)) == []
