"""Which devices there are, and which one is meant."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE
from tests.devices.conftest import without
from voxrx.audio import Device, devices, find_device, microphone
from voxrx.audio.device_list import accepted_format, find_again
from voxrx.audio.portaudio import refreshed
from voxrx.errors import DeviceError

if sys.platform == "linux":
    from tests.devices.alsa import AlsaDevices, HifiDevices, NullDevices

NULL = "{ type null }"


@pytest.fixture
def shop(portaudio: None) -> Iterator[AlsaDevices]:
    """Many devices."""
    names = ("Headset", "Headset Pro", "Big Speaker", "Small Speaker")
    with AlsaDevices("\n".join(f"pcm.'{name}' {NULL}" for name in names)) as shop:
        yield shop


def listed() -> list[str]:
    return [device.name for device in devices()]


def index_of(name: str) -> int:
    return next(device.index for device in devices() if device.name == name)


def test_every_device_is_listed_with_what_it_can(null_devices: NullDevices) -> None:
    found = devices()

    assert [device.name for device in found] == ["voxmic", "voxspk"]
    assert {device.host_api for device in found} == {"ALSA"}
    assert all(device.input_channels > 0 and device.output_channels > 0 for device in found)
    assert [device.is_default_input for device in found] == [True, False]
    assert [device.is_default_output for device in found] == [True, False]


def test_a_device_says_which_sample_rates_it_takes(hifi_devices: HifiDevices) -> None:
    headphones = find_device(hifi_devices.speaker_name, output=True)

    assert headphones.sample_rates(output=True) == (48_000,)
    assert 16_000 in find_device("voxspk_null").sample_rates()


def test_a_device_that_cannot_play_takes_no_rate_for_it(portaudio: None) -> None:
    microphone_only = Device(0, "mic", "ALSA", 1, 0, 48_000, True, False)

    assert microphone_only.sample_rates(output=True) == ()
    assert str(microphone_only) == "0: mic (ALSA, in)"


def test_devices_that_come_are_listed(portaudio: None) -> None:
    with NullDevices():
        before = listed()
        with AlsaDevices(f"pcm.new {NULL}"):
            assert listed() == ["new"]
        assert listed() == before


def test_devices_are_not_looked_for_while_one_is_open(null_devices: NullDevices) -> None:
    heard = threading.Event()
    source = microphone(null_devices.mic_name)
    source.subscribe(lambda frame: heard.set())
    assert heard.wait(PATIENCE)

    while_open = refreshed()
    heard.clear()
    assert len(devices()) == 2
    assert heard.wait(PATIENCE)
    assert source.close(PATIENCE)

    assert (while_open, refreshed()) == (False, True)


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("Headset", "Headset"),
        ("headset", "Headset"),
        ("  HEADSET PRO ", "Headset Pro"),
        ("pro", "Headset Pro"),
        ("big", "Big Speaker"),
        ("big speaker alsa", "Big Speaker"),
    ],
)
def test_a_device_is_found_by_its_name_or_a_part_of_it(shop: AlsaDevices, choice: str, name: str) -> None:
    assert find_device(choice).name == name


def test_a_device_is_found_by_its_index(shop: AlsaDevices) -> None:
    import numpy as np

    index = index_of("Small Speaker")

    assert find_device(index, output=True).name == "Small Speaker"
    assert find_device(np.int64(index), output=True).name == "Small Speaker"  # type: ignore[arg-type]


def test_without_a_choice_it_is_the_default(shop: AlsaDevices) -> None:
    assert find_device(None).is_default_input
    assert find_device(None, output=True).is_default_output


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("speaker", "speaker 'speaker' is ambiguous: choose one of .*Big Speaker.*; .*Small Speaker"),
        ("gramophone", "speaker 'gramophone' is unknown: choose one of .*Headset.*; .*Small Speaker"),
        (99, "speaker 99 is unknown: choose one of .*Headset"),
        (-1, "speaker -1 is unknown"),
        ("  ", "the name is empty; choose one of .*Headset"),
        (True, "expected an index, a name or None, got True"),
        (1.0, "expected an index, a name or None, got 1.0"),
        (object, "expected an index, a name or None"),
        ({}, "expected an index, a name or None, got {}"),
    ],
)
def test_a_choice_that_names_no_device_is_an_error_that_lists_them(
    shop: AlsaDevices, choice: Any, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        find_device(choice, output=True)


def test_of_one_device_behind_several_systems_it_is_that_of_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows lists them: cut off by one system, in full by the next."""
    found = [
        Device(0, "Microphone (USB Audio Dev", "MME", 1, 0, 44_100, True, False),
        Device(1, "Microphone (USB Audio Device)", "Windows WASAPI", 1, 0, 48_000, False, False),
    ]
    monkeypatch.setattr("voxrx.audio.device_list.devices", lambda *, refresh: found)

    assert find_device("usb").index == 0
    assert find_device("Microphone (USB Audio Device)").index == 1
    with pytest.raises(DeviceError, match="unknown"):
        find_device("usb", output=False) and find_device("bluetooth")


def test_a_device_is_found_again_by_its_name_when_its_index_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Device(3, "Headset", "ALSA", 1, 0, 48_000, False, False)
    found = [
        Device(0, "Headset", "JACK", 1, 0, 48_000, True, False),
        Device(1, "Headset", "ALSA", 1, 0, 48_000, False, False),
    ]
    monkeypatch.setattr("voxrx.audio.device_list.devices", lambda *, refresh: found)

    assert find_again(before).index == 1
    with pytest.raises(DeviceError, match="'Headset' is not there any more"):
        find_again(before, output=True)


def test_hardware_is_opened_with_two_channels_and_software_with_one(hifi_devices: HifiDevices) -> None:
    """With one, PortAudio would play on the left only."""
    assert accepted_format(find_device("voxspk", output=True), 48_000, output=True) == (48_000, 2)
    assert accepted_format(find_device("voxspk_null", output=True), 48_000, output=True) == (48_000, 1)


def test_a_rate_that_the_device_does_not_take_is_replaced_unless_it_is_fixed(hifi_devices: HifiDevices) -> None:
    headphones = find_device("voxspk", output=True)

    assert accepted_format(headphones, 16_000, output=True)[0] == 48_000
    assert accepted_format(headphones, None, output=True)[0] == 48_000
    with pytest.raises(DeviceError, match="it does not take this sample rate"):
        accepted_format(headphones, 16_000, output=True, fixed=True)


# --- nothing there ----------------------------------------------------------------------------------------------


def test_a_machine_without_devices_has_none(portaudio: None) -> None:
    assert devices() == []
    with pytest.raises(DeviceError, match="there is no microphone: the system lists no device for input"):
        find_device(None)
    with pytest.raises(DeviceError, match="there is no speaker"):
        find_device("headset", output=True)


MISSING = """
import sys
{simulated}
import voxrx, voxrx.audio
from voxrx.errors import DeviceError
try:
    voxrx.audio.devices()
except DeviceError as error:
    print(error)
errors = []
voxrx.audio.microphone().subscribe(on_error=errors.append)
import time
until = time.monotonic() + 10
while not errors and time.monotonic() < until:
    time.sleep(0.01)
print(type(errors[0]).__name__)
"""


@pytest.mark.parametrize(
    ("simulated", "message"),
    [
        (
            "import ctypes.util; ctypes.util.find_library = lambda name: None\nimport builtins",
            "need the library PortAudio; install it: apt-get install libportaudio2 (as root)",
        ),
        ("sys.modules['sounddevice'] = None", "need the package sounddevice: pip install sounddevice"),
    ],
)
def test_without_portaudio_the_package_works_and_says_how_to_get_it(simulated: str, message: str) -> None:
    if "libportaudio2" in message and not Path("/etc/debian_version").exists():
        without("Debian")
    done = subprocess.run(
        [sys.executable, "-c", MISSING.format(simulated=simulated)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).parents[2],
        check=False,
    )

    said = done.stdout.splitlines()
    assert said == [f"microphones and speakers {message}", "DeviceError"], done.stderr


def test_a_portaudio_that_does_not_start_is_a_device_error(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise RuntimeError('Error initializing PortAudio')")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import voxrx.audio; voxrx.audio.devices()"

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).parents[2],
        check=False,
    )

    assert "DeviceError: PortAudio does not start: Error initializing PortAudio" in done.stderr


def test_a_stuck_call_to_portaudio_does_not_block_others_for_ever(
    null_devices: NullDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxrx.audio import portaudio

    monkeypatch.setattr(portaudio, "_LONGEST_TURN_SECONDS", 0.05)

    with portaudio.calls("being stuck"), pytest.raises(DeviceError, match="listing devices: PortAudio has not come"):
        devices(refresh=False)


def test_a_device_that_has_gone_is_an_error(null_devices: NullDevices) -> None:
    gone = Device(77, "gone", "ALSA", 1, 0, 16_000, False, False)

    with pytest.raises(DeviceError, match="microphone 'gone': Error querying device 77"):
        accepted_format(gone, 16_000)
