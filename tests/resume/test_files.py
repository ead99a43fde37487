from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sb3_ppo_variants.resume.files import (
    DamagedCheckpoint,
    checkpoint_paths,
    newest_checkpoint,
    read_checkpoint,
    refuse_earlier_run,
    remove_old,
    write_checkpoint,
)


def test_written_and_read(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "new", 7, {"steps": 7}, b"snap\nshot")
    read = read_checkpoint(path)
    assert (read.about["steps"], read.snapshot) == (7, b"snap\nshot")


def test_newest_readable(tmp_path: Path) -> None:
    for steps in (9, 10, 100):
        write_checkpoint(tmp_path, steps, {"steps": steps}, bytes(steps))
    oldest, middle, newest = checkpoint_paths(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-1])
    middle.write_bytes(b"")
    found, faults = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.path == oldest
    assert faults == [f"{path} is damaged: its checksum is wrong." for path in (newest, middle)]
    oldest.unlink()
    assert newest_checkpoint(tmp_path)[0] is None
    assert newest_checkpoint(tmp_path / "none") == (None, [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_seen(place: float, bit: int, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 3, {"steps": 3}, b"some snapshot")
    contents = bytearray(path.read_bytes())
    contents[int(place * len(contents))] ^= 1 << bit
    path.write_bytes(contents)
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        read_checkpoint(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(contents=st.binary(max_size=300))
def test_any_other_file_is_refused(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "step-000000000001.checkpoint"
    path.write_bytes(contents)
    with pytest.raises(DamagedCheckpoint, match="step-000000000001"):
        read_checkpoint(path)


def test_keep(tmp_path: Path) -> None:
    for steps in range(1, 6):
        write_checkpoint(tmp_path, steps, {}, b"")
    (tmp_path / "step-notes.checkpoint").write_text("somebody's own")
    remove_old(tmp_path, 2, checkpoint_paths(tmp_path)[-1])
    assert [path.name for path in checkpoint_paths(tmp_path)] == [f"step-{n:012d}.checkpoint" for n in (4, 5)]
    assert (tmp_path / "step-notes.checkpoint").exists()
    with pytest.raises(ValueError, match=r"newest step-000000000005.checkpoint: pass resume=True"):
        refuse_earlier_run(tmp_path)
