"""Sound: files and frames in, levels, voice activity and utterances out, and answers to a listener.

::

    audio_file(path) ──► Observable[AudioFrame] ──► voice_activity(...) ──► Observable[Signal]
    Player.play(...) ──► Observer[AudioFrame], for example wav_writer(path)

Importing this package loads none of numpy, soundfile and soxr: a name loads its module when it is first used, and the
modules load soundfile and soxr when a file is opened or a rate converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxrx.lazy import lazily

if TYPE_CHECKING:
    from voxrx.audio.activity import SpeechEdge, VoiceActivity, voice_activity
    from voxrx.audio.detectors import BandDetector, Detector, DetectorChoice, DetectorFactory, SileroDetector
    from voxrx.audio.files import AudioFile, WavWriter, audio_file, wav_writer
    from voxrx.audio.levels import SILENCE_DB, level_db, peak_db
    from voxrx.audio.playback import Player
    from voxrx.audio.utterance import utterances

__all__ = (
    "SILENCE_DB",
    "AudioFile",
    "BandDetector",
    "Detector",
    "DetectorChoice",
    "DetectorFactory",
    "Player",
    "SileroDetector",
    "SpeechEdge",
    "VoiceActivity",
    "WavWriter",
    "audio_file",
    "level_db",
    "peak_db",
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
    "Player": "playback",
    "SileroDetector": "silero",
    "SpeechEdge": "activity",
    "VoiceActivity": "activity",
    "WavWriter": "files",
    "audio_file": "files",
    "level_db": "levels",
    "peak_db": "levels",
    "utterances": "utterance",
    "voice_activity": "activity",
    "wav_writer": "files",
}


__getattr__, __dir__ = lazily(__name__, _MODULES)
