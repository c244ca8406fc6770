"""Which microphones and speakers there are, and which one is meant."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from voxrx.audio.portaudio import calls, refreshed
from voxrx.errors import DeviceError

__all__ = ("Device", "DeviceChoice", "accepted_format", "devices", "find_again", "find_device")

DeviceChoice: TypeAlias = int | str | None
"""A device: its index, its name or a part of it in any case, or None for the system's default."""

_MOST_CHANNELS_OF_HARDWARE = 16
_COMMON_RATES_HZ = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as PortAudio lists it.

    Attributes
    ----------
    index : int
        Its number, until devices come or go.
    name : str
    host_api : str
        The sound system through which it is reached, such as ALSA, Core Audio or Windows WASAPI.
    input_channels, output_channels : int
        How many it has at most; 0: it is no microphone, or no speaker.
    default_sample_rate : int [Hz]
    is_default_input, is_default_output : bool
    """

    index: int
    name: str
    host_api: str
    input_channels: int
    output_channels: int
    default_sample_rate: int
    is_default_input: bool
    is_default_output: bool

    def sample_rates(self, *, output: bool = False) -> tuple[int, ...]:
        """Return which of the common sample rates [Hz] it takes. Asks the device, which may take some 100 ms.

        Of a device that is in use, some systems say that it takes none.
        """
        kind, channels = ("output", self.output_channels) if output else ("input", self.input_channels)
        with calls(f"device {self.name!r}") as module:
            check = getattr(module, f"check_{kind}_settings")
            taken: list[int] = []
            for rate in _COMMON_RATES_HZ if channels else ():
                try:
                    check(device=self.index, channels=min(channels, 2), samplerate=rate, dtype="int16")
                except module.PortAudioError:
                    continue
                taken.append(rate)
        return tuple(taken)

    def __str__(self) -> str:
        kinds = [name for name, count in (("in", self.input_channels), ("out", self.output_channels)) if count]
        return f"{self.index}: {self.name} ({self.host_api}, {'/'.join(kinds) or 'nothing'})"


def devices(*, refresh: bool = True) -> list[Device]:
    """Return all devices.

    Parameters
    ----------
    refresh : bool
        Whether to look for new ones, which is not done while a microphone or a speaker is open. Streams that others
        have opened with sounddevice end by it.

    Raises
    ------
    DeviceError
        If PortAudio is missing; the message says how to install it.
    """
    if refresh:
        refreshed()
    with calls("listing devices") as module:
        apis: Any = module.query_hostapis()
        default_input, default_output = _defaults(module, apis)
        return [
            Device(
                index=index,
                name=str(found["name"]),
                host_api=str(apis[found["hostapi"]]["name"]),
                input_channels=int(found["max_input_channels"]),
                output_channels=int(found["max_output_channels"]),
                default_sample_rate=round(found["default_samplerate"]),
                is_default_input=index == default_input,
                is_default_output=index == default_output,
            )
            for index, found in enumerate(module.query_devices())
        ]


def _defaults(module: Any, apis: Any) -> tuple[int, int]:
    """Return the default devices: those of the first host API that has some, as PortAudio chooses."""
    chosen = [-1, -1]
    for kind, name in enumerate(("default_input_device", "default_output_device")):
        asked = module.default.device[kind]
        known = [api[name] for api in apis if api[name] >= 0]
        chosen[kind] = asked if isinstance(asked, int) and asked >= 0 else (known[0] if known else -1)
    return chosen[0], chosen[1]


def find_device(choice: DeviceChoice, *, output: bool = False, refresh: bool = False) -> Device:
    """Return the microphone (or the speaker) that is meant.

    A name that some device has in full wins over one that has it in a part; of several that are reached through
    different sound systems, that of the default device's system wins.

    Parameters
    ----------
    choice : int, str or None
        See `DeviceChoice`.
    output : bool
        Whether a speaker is meant.
    refresh : bool
        As for `devices`.

    Raises
    ------
    DeviceError
        If there is none, or more than one; the message lists the choices.
    """
    kind = "speaker" if output else "microphone"
    fitting = _fitting(output=output, refresh=refresh)
    if not fitting:
        raise DeviceError(f"there is no {kind}: the system lists no device for {'output' if output else 'input'}")
    default = next((d for d in fitting if (d.is_default_output if output else d.is_default_input)), None)
    if choice is None:
        if default is None:
            raise DeviceError(f"there is no default {kind}: choose one of {_listed(fitting)}")
        return default
    if not isinstance(cast(object, choice), str):
        return _by_index(choice, fitting, kind)
    name = str(choice).strip().casefold()
    if not name:
        raise DeviceError(f"{kind}: the name is empty; choose one of {_listed(fitting)}")
    found = [device for device in fitting if device.name.casefold() == name]
    found = found or [device for device in fitting if name in f"{device.name} {device.host_api}".casefold()]
    if len(found) > 1 and default is not None:
        found = [device for device in found if device.host_api == default.host_api] or found
    if len(found) != 1:
        problem = "is ambiguous" if found else "is unknown"
        raise DeviceError(f"{kind} {choice!r} {problem}: choose one of {_listed(found or fitting)}")
    return found[0]


def find_again(device: Device, *, output: bool = False, refresh: bool = True) -> Device:
    """Return a device that was there before, by its name, since indices change when devices come and go.

    Raises
    ------
    DeviceError
        If it is not there any more.
    """
    same = [
        other
        for other in _fitting(output=output, refresh=refresh)
        if (other.name, other.host_api) == (device.name, device.host_api)
    ]
    if not same:
        raise DeviceError(f"{device.name!r} is not there any more")
    return next((other for other in same if other.index == device.index), same[0])


def _fitting(*, output: bool, refresh: bool) -> list[Device]:
    return [
        device for device in devices(refresh=refresh) if (device.output_channels if output else device.input_channels)
    ]


def _by_index(choice: object, fitting: list[Device], kind: str) -> Device:
    try:
        if isinstance(choice, bool):
            raise TypeError
        index = operator.index(cast(Any, choice))
    except TypeError:
        raise DeviceError(f"{kind}: expected an index, a name or None, got {choice!r:.100}") from None
    for device in fitting:
        if device.index == index:
            return device
    raise DeviceError(f"{kind} {index} is unknown: choose one of {_listed(fitting)}")


def _listed(choices: list[Device]) -> str:
    return "; ".join(str(device) for device in choices)


def accepted_format(
    device: Device, wanted: int | None, *, output: bool = False, fixed: bool = False
) -> tuple[int, int]:
    """Return a sample rate [Hz] and a number of channels that the device takes, as near as possible to what is wanted.

    Two channels, where hardware has more than one: of those it would give and play the first one only. Software that
    offers dozens mixes them.

    Parameters
    ----------
    device : Device
    wanted : int [Hz] or None
        None: the device's own. If it does not take the one that is wanted, its own and the usual ones are tried.
    output : bool
        Whether it is to play.
    fixed : bool
        Whether no other rate will do.

    Raises
    ------
    DeviceError
        If it takes none, which devices that are in use say, too.
    """
    kind, channels = ("output", device.output_channels) if output else ("input", device.input_channels)
    wanted = device.default_sample_rate if wanted is None else wanted
    rates = (wanted,) if fixed else dict.fromkeys((wanted, device.default_sample_rate, 48_000, 44_100))
    with calls(f"{'speaker' if output else 'microphone'} {device.name!r}") as module:
        check = getattr(module, f"check_{kind}_settings")
        refusal: BaseException | None = None
        for rate in rates:
            for count in _channel_counts(channels):
                try:
                    check(device=device.index, channels=count, samplerate=rate, dtype="int16")
                except module.PortAudioError as error:
                    refusal = refusal or error
                else:
                    return rate, count
        assert refusal is not None
        raise refusal


def _channel_counts(channels: int) -> list[int]:
    """Return what to try, the best first."""
    few = (2, 1) if channels in range(2, _MOST_CHANNELS_OF_HARDWARE + 1) else (1, min(2, channels))
    return list(dict.fromkeys((*few, channels)))
