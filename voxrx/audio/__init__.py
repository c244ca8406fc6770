"""Sound: microphone and files in, levels, voice activity and utterances out, and answers to a listener.

::

    microphone() ────┬──► Observable[AudioFrame] ──┬──► voice_activity(...) ──► Observable[Signal]
    audio_file(path) ┘                             └──► utterances(...) ──► Observable[AudioFrame]

    Player.play(...) ──► Observer[AudioFrame], for example wav_writer(path)
    SpeakerPlayer.play(...) ──► speaker()

Importing this package loads none of numpy, sounddevice, soundfile and soxr: a name loads its module when it is first
used, and the modules load the others when a device or a file is opened or a rate converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxrx.lazy import lazily

if TYPE_CHECKING:
    from voxrx.audio.activity import SpeechEdge, VoiceActivity, voice_activity
    from voxrx.audio.capture import Microphone, microphone
    from voxrx.audio.detectors import BandDetector, Detector, DetectorChoice, DetectorFactory, SileroDetector
    from voxrx.audio.device_list import Device, DeviceChoice, devices, find_device
    from voxrx.audio.device_thread import OnLoss
    from voxrx.audio.echo import EchoCanceller, EchoChoice, EchoControl, HalfDuplex, Headphones, echo_control
    from voxrx.audio.files import AudioFile, WavWriter, audio_file, wav_writer
    from voxrx.audio.levels import SILENCE_DB, level_db, peak_db
    from voxrx.audio.playback import Playback, Player
    from voxrx.audio.playout import Speaker, speaker
    from voxrx.audio.speaker_playback import SpeakerPlayer
    from voxrx.audio.utterance import utterances

__all__ = (
    "SILENCE_DB",
    "AudioFile",
    "BandDetector",
    "Detector",
    "DetectorChoice",
    "DetectorFactory",
    "Device",
    "DeviceChoice",
    "EchoCanceller",
    "EchoChoice",
    "EchoControl",
    "HalfDuplex",
    "Headphones",
    "Microphone",
    "OnLoss",
    "Playback",
    "Player",
    "SileroDetector",
    "Speaker",
    "SpeakerPlayer",
    "SpeechEdge",
    "VoiceActivity",
    "WavWriter",
    "audio_file",
    "devices",
    "echo_control",
    "find_device",
    "level_db",
    "microphone",
    "peak_db",
    "speaker",
    "utterances",
    "voice_activity",
    "wav_writer",
)

_MODULES = {
    "SILENCE_DB": "levels",
    "AudioFile": "files",
    "BandDetector": "detectors",
    "Detector": "detectors",
    "DetectorChoice": "detectors",
    "DetectorFactory": "detectors",
    "Device": "device_list",
    "DeviceChoice": "device_list",
    "EchoCanceller": "echo",
    "EchoChoice": "echo",
    "EchoControl": "echo",
    "HalfDuplex": "echo",
    "Headphones": "echo",
    "Microphone": "capture",
    "OnLoss": "device_thread",
    "Playback": "playback",
    "Player": "playback",
    "SileroDetector": "silero",
    "Speaker": "playout",
    "SpeakerPlayer": "speaker_playback",
    "SpeechEdge": "activity",
    "VoiceActivity": "activity",
    "WavWriter": "files",
    "audio_file": "files",
    "devices": "device_list",
    "echo_control": "echo",
    "find_device": "device_list",
    "level_db": "levels",
    "microphone": "capture",
    "peak_db": "levels",
    "speaker": "playout",
    "utterances": "utterance",
    "voice_activity": "activity",
    "wav_writer": "files",
}


__getattr__, __dir__ = lazily(__name__, _MODULES)
