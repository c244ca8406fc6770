from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import voxrx.audio


def test_importing_the_package_loads_no_numeric_package() -> None:
    code = "import sys, voxrx.audio; print(sorted({'numpy', 'soundfile', 'soxr'} & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded == "[]\n"


def test_using_the_package_loads_soundfile_and_soxr_only_for_files() -> None:
    code = (
        "import sys; from voxrx.audio import Player, audio_file, level_db, voice_activity; "
        "audio_file('x.wav'); print(sorted({'soundfile', 'soxr'} & set(sys.modules)))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded == "[]\n"


@pytest.mark.parametrize("name", voxrx.audio.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(voxrx.audio, name) is not None
    assert name in dir(voxrx.audio)


def test_no_submodule_bears_a_public_name() -> None:
    for module in ("activity", "files", "levels", "playback"):
        importlib.import_module(f"voxrx.audio.{module}")

    assert not {"activity", "files", "levels", "playback"} & set(voxrx.audio.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = voxrx.audio.nothing
