"""Utterances: each thing that is said as one piece of sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from reactivex import Observable

from voxrx.audio.activity import SpeechEdge, SpeechFinder, SpeechOptions, at_least, for_each_rate
from voxrx.audio.detectors import DetectorChoice
from voxrx.records.frame import AudioFrame

__all__ = ("utterances",)


def utterances(
    *,
    pre_roll_ms: float = 200,
    post_roll_ms: float = 100,
    longest_ms: float = 60_000,
    detector: DetectorChoice = None,
    min_speech_ms: float = 60,
    min_silence_ms: float = 500,
    threshold: float = 0.5,
    release: float = 0.35,
) -> Callable[[Observable[AudioFrame]], Observable[AudioFrame]]:
    """Return an operator that gives each utterance as one frame, when it has ended.

    ::

        frames:      --a--b--c--d--e--f--g--h--i--|
        speech:               ______
                     utterances(pre_roll_ms=1f, post_roll_ms=1f, min_speech_ms=1f, min_silence_ms=2f)
        utterances:  --------------------U--------|

    Here ``U`` is the sound of ``c`` to ``f``: from ``pre_roll_ms`` before speech began, so that the first syllable is
    whole, to ``post_roll_ms`` after it was heard last. ``U.index`` is its place in the stream. Utterances come in
    order and never overlap: a pre-roll begins no earlier than the utterance before ended, or the stream began.

    An utterance that gets longer than ``longest_ms`` comes in pieces of that length, each as soon as speech is heard
    beyond it. No more sound is kept than may still be needed: of an utterance ``longest_ms`` and the silence after it,
    else the pre-roll and what the detector has not yet decided.

    Frames may have any length and rate. Lost sound (a frame whose ``index`` leaves a gap) is silence, and a frame whose
    ``index`` goes back follows directly, as for `voice_activity`. A change of the sample rate, completion and an error
    of the source end the utterance that is on, which comes before them. Samples are those of the frames, finite or
    not. Utterances come on the thread of the frame that decided them.

    Parameters
    ----------
    pre_roll_ms : float >= 0 [ms]
    post_roll_ms : float >= 0 [ms]
        At most ``min_silence_ms`` of it, which is how long the end is waited for; less where the stream ends.
    longest_ms : float >= 1 [ms]
    detector, min_speech_ms, min_silence_ms, threshold, release
        As for `voice_activity`.

    Returns
    -------
    callable
        From an observable of frames to one of frames.

    Raises
    ------
    AudioFormatError
        If one of the numbers is out of its limits, or the detector's name unknown. A sample rate that the detector
        does not take, or a package that it misses (`MissingExtraError`), goes to the subscriber.
    """
    speech = SpeechOptions(
        detector=detector,
        min_speech_ms=min_speech_ms,
        min_silence_ms=min_silence_ms,
        threshold=threshold,
        release=release,
    )
    at_least(0, pre_roll_ms=pre_roll_ms, post_roll_ms=post_roll_ms)
    at_least(1, longest_ms=longest_ms)
    post_roll_ms = min(post_roll_ms, min_silence_ms)

    def recorder_of(first: AudioFrame, emit: Callable[[AudioFrame], None]) -> _Recorder:
        return _Recorder(speech, pre_roll_ms, post_roll_ms, longest_ms, first, emit)

    return for_each_rate(recorder_of)


class _Recorder:
    """Keeps the latest sound of one sample rate, and cuts utterances out of it.

    Positions are those of its `SpeechFinder`.
    """

    def __init__(
        self,
        speech: SpeechOptions,
        pre_roll_ms: float,
        post_roll_ms: float,
        longest_ms: float,
        first: AudioFrame,
        emit: Callable[[AudioFrame], None],
    ) -> None:
        rate = first.sample_rate
        self._sample_rate = rate
        self._emit = emit
        self._finder = SpeechFinder(speech, first, self._tell)
        self._pre_roll = round(pre_roll_ms * rate / 1000)
        self._post_roll = round(post_roll_ms * rate / 1000)
        self._longest = max(1, round(longest_ms * rate / 1000))
        self._kept: deque[AudioFrame] = deque()  # with the index that counts here; gaps are silence
        self._free = first.index  # what comes before is emitted or forgotten
        self._is_speech = False

    def hear(self, frame: AudioFrame) -> None:
        finder = self._finder
        index = max(frame.index, finder.heard)
        self._kept.append(frame if index == frame.index else AudioFrame(frame.samples, frame.sample_rate, index))
        finder.hear(frame)
        if self._is_speech:
            self._emit_pieces(finder.activity.last_speech)
        else:
            self._free = max(self._free, finder.undecided - self._pre_roll)
        while self._kept and self._kept[0].end <= self._free:
            self._kept.popleft()

    def finish(self) -> None:
        self._finder.finish()

    def _tell(self, edge: SpeechEdge) -> None:
        self._is_speech = edge.is_speech
        if edge.is_speech:
            self._free = max(self._free, edge.sample - self._pre_roll)
            return
        end = min(edge.sample + self._post_roll, self._finder.heard)
        self._emit_pieces(end)
        self._emit_until(end)

    def _emit_pieces(self, known: int) -> None:
        """Emit what is too long to wait for its end: it goes on until ``known``, at least."""
        while known - self._free > self._longest:
            self._emit_until(self._free + self._longest)

    def _emit_until(self, end: int) -> None:
        begin, self._free = self._free, end
        samples = np.zeros(end - begin, np.float32)
        for frame in self._kept:
            first, last = max(frame.index, begin), min(frame.end, end)
            if first < last:
                samples[first - begin : last - begin] = frame.samples[first - frame.index : last - frame.index]
        samples.flags.writeable = False
        self._emit(AudioFrame(samples, self._sample_rate, begin))
