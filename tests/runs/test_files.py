"""Files that replace others only when they are complete."""

import os
from pathlib import Path

import pytest

from ardae_rl.runs.files import replacement, write_json


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "value.json"
    write_json(path, 1)
    with pytest.raises(RuntimeError, match="stop"), replacement(path) as file:
        file.write("part")
        raise RuntimeError("stop")
    assert path.read_text() == "1\n" and [each.name for each in path.parent.iterdir()] == ["value.json"]


def test_links_stay_links(tmp_path: Path) -> None:
    target, link = tmp_path / "shared.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_json(link, 1)
    assert link.is_symlink() and target.read_text() == "1\n"


def test_pipes_are_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_json(pipe, 1)
        assert os.read(reader, 100) == b"1\n" and pipe.is_fifo()
    finally:
        os.close(reader)
