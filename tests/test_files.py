"""Files that are written completely or not at all."""

from pathlib import Path

import pytest

from sb3_ppo_variants.files import atomic, remove_unfinished, safe_name, safe_names, write_csv


def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.csv"
    write_csv(path, ["a"], [[1]])

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "a\n1\n"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o044  # as readable as any file that the user makes
    manager = atomic(path)  # as a kill leaves it
    manager.__enter__()
    assert len(list(path.parent.iterdir())) == 2
    remove_unfinished(path.parent)
    assert list(path.parent.iterdir()) == [path]


def test_safe_names() -> None:
    assert safe_name("sb3:ppo") == "sb3-ppo"
    assert safe_name("my_package.envs:ALE/Pong-v5") == "my_package.envs-ALE-Pong-v5"
    assert safe_name("../..") == ""
    assert safe_names(["a:b", "a b", "c", "a-b_2", "a/b"]) == ["a-b", "a-b_2", "c", "a-b_2_2", "a-b_3"]
