"""The other side of the speech worker: hears with pocketsphinx, speaks with espeak-ng.

It is started as a program, by its path (`speech_worker`), and imports nothing of voxrx, so that it is ready soon and
nothing in the user's folder can stand in its way. It is a process of its own because pocketsphinx holds the
interpreter lock for up to a second, and because espeak-ng is under the GPL.

A message is a length-prefixed JSON header and a length-prefixed binary payload, both ways. Requests are answered in
order; each carries an ``id``, which its answers repeat, and the last answer says ``last``.

============  =======================  ===============================================================================
request       fields, payload          answers
============  =======================  ===============================================================================
``start``     recogniser, voice        one, when both are loaded; ``sample_rate`` is the voice's
``begin``                              one: an utterance begins
``audio``     int16 at 16 kHz          one, when it has been decoded
``end``                                one: what the grammar and the language model understood, with their scores
``drop``                               one: the utterance is forgotten
``speak``     text                     int16 sound, piece by piece
``cancel``    of                       one; the `speak` of that id ends early
``ping``                               one
============  =======================  ===============================================================================
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import queue
import signal
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Protocol

__all__ = ("LENGTHS", "main", "packed")

LENGTHS = struct.Struct(">II")
_FRAMES_PER_SECOND = 100  # of pocketsphinx
_BYTES_PER_FRAME = 2 * 16_000 // _FRAMES_PER_SECOND

Fields = Mapping[str, Any]
Answer = Callable[..., None]


def packed(fields: Fields, payload: bytes = b"") -> bytes:
    """Return the bytes of a message."""
    header = json.dumps(fields, separators=(",", ":")).encode()
    return LENGTHS.pack(len(header), len(payload)) + header + payload


class _Hypothesis(Protocol):
    hypstr: str
    score: float


class _Decoder(Protocol):
    """What is used of pocketsphinx's decoder, which has no types of its own."""

    def start_utt(self) -> None: ...
    def process_raw(self, data: bytes) -> object: ...
    def end_utt(self) -> None: ...
    def hyp(self) -> _Hypothesis | None: ...
    def add_jsgf_string(self, name: str, jsgf: str) -> None: ...
    def activate_search(self, name: str) -> None: ...
    def lookup_word(self, word: str) -> str | None: ...
    def get_logmath(self) -> Any: ...


class Hearing:
    """Two decoders on the same sound: one knows only the grammar's sentences, the other any English."""

    def __init__(self, jsgf: str, words: list[str]) -> None:
        pocketsphinx = importlib.import_module("pocketsphinx")
        # 5.0.4 takes no string for an absent language model, 5.1 no missing argument.
        self._language: _Decoder = pocketsphinx.Decoder(loglevel="FATAL")
        self._grammar: _Decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL")
        unknown = [word for word in words if self._grammar.lookup_word(word) is None]
        if unknown:
            raise ValueError(f"pocketsphinx's dictionary does not have the grammar's words {', '.join(unknown)}")
        self._grammar.add_jsgf_string("commands", jsgf)
        self._grammar.activate_search("commands")
        self._bytes = 0
        self._listening = False

    def begin(self) -> None:
        self.drop()
        self._grammar.start_utt()
        self._language.start_utt()
        self._bytes = 0
        self._listening = True

    def hear(self, sound: bytes) -> None:
        if self._listening and sound:
            self._grammar.process_raw(sound)
            self._language.process_raw(sound)
            self._bytes += len(sound)

    def end(self) -> dict[str, Any]:
        if not self._listening:
            return {"frames": 0}
        self.drop()
        return {
            "frames": self._bytes // _BYTES_PER_FRAME,
            "grammar": _best(self._grammar),
            "language": _best(self._language),
        }

    def drop(self) -> None:
        if self._listening:
            self._listening = False
            self._grammar.end_utt()
            self._language.end_utt()


def _best(decoder: _Decoder) -> list[Any] | None:
    """Return the words of a decoder and their score, as a logarithm to the base of its own arithmetic (1.0001)."""
    hypothesis = decoder.hyp()
    if hypothesis is None or not hypothesis.hypstr.strip():
        return None
    return [hypothesis.hypstr.strip(), int(decoder.get_logmath().log(hypothesis.score))]


class Speaking:
    """espeak-ng, called synchronously; its state is global, so there is one per process."""

    _SYNCHRONOUS = 2
    _DO_NOT_EXIT = 0x8000
    _RATE = 1
    _UTF8 = 1
    _PIECE_MS = 100

    def __init__(self, voice: str, words_per_minute: int) -> None:
        loader = importlib.import_module("espeakng_loader")
        library: Any = ctypes.CDLL(str(loader.get_library_path()))
        data = str(loader.get_data_path()).encode()
        self.sample_rate = int(library.espeak_Initialize(self._SYNCHRONOUS, self._PIECE_MS, data, self._DO_NOT_EXIT))
        if self.sample_rate <= 0:
            raise OSError(f"espeak-ng could not read its data in {data.decode()!r}")
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}; 'en-us' is one")
        library.espeak_SetParameter(self._RATE, words_per_minute, 0)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = prototype(self._synthesised)  # kept: the library holds only its address
        library.espeak_SetSynthCallback(self._callback)
        self._library = library
        self._heard: Callable[[bytes], bool] | None = None

    def speak(self, text: str, heard: Callable[[bytes], bool]) -> None:
        """Call ``heard`` with each piece of the sound of ``text``, until it returns False."""
        data = text.encode()
        self._heard = heard
        try:
            self._library.espeak_Synth(
                ctypes.c_char_p(data), ctypes.c_size_t(len(data) + 1), 0, 0, 0, self._UTF8, None, None
            )
            self._library.espeak_Synchronize()
        finally:
            self._heard = None

    def _synthesised(self, samples: Any, count: int, events: object) -> int:
        if not samples or count <= 0 or self._heard is None:
            return 0
        return 0 if self._heard(ctypes.string_at(samples, count * 2)) else 1


class Process:
    """Answers requests, one after another; a thread reads ahead, so that a cancellation is seen at once."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._waiting: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue(maxsize=1024)
        self._cancelled: set[int] = set()
        self._hearing: Hearing | None = None
        self._speaking: Speaking | None = None

    def run(self) -> None:
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        parent = os.getppid()
        while True:
            try:
                fields, payload = self._waiting.get(timeout=5)
            except queue.Empty:
                # A process that was forked from the parent may hold the pipe open after the parent's death.
                if os.getppid() != parent:
                    os._exit(0)
                continue
            try:
                self._carry_out(fields, payload)
            except Exception as error:
                missing = error.name if isinstance(error, ModuleNotFoundError) else None
                self._answer(fields["id"], True, error=f"{type(error).__name__}: {error}", missing=missing)

    def _read(self) -> None:
        while len(lengths := self._requests.read(LENGTHS.size)) == LENGTHS.size:
            header, payload = LENGTHS.unpack(lengths)
            fields = json.loads(self._requests.read(header))
            body = self._requests.read(payload)
            if fields["op"] == "cancel":
                self._cancelled.add(fields["of"])
            self._waiting.put((fields, body))
        os._exit(0)  # the parent has closed the pipe, or died; whatever is being computed is for nobody

    def _carry_out(self, fields: dict[str, Any], payload: bytes) -> None:
        request = fields["id"]
        match fields["op"]:
            case "start":
                self._answer(request, True, sample_rate=self._load(fields["recogniser"], fields["voice"]))
            case "begin" if self._hearing is not None:
                self._hearing.begin()
                self._answer(request, True)
            case "audio" if self._hearing is not None:
                self._hearing.hear(payload)
                self._answer(request, True)
            case "end" if self._hearing is not None:
                self._answer(request, True, **self._hearing.end())
            case "drop" if self._hearing is not None:
                self._hearing.drop()
                self._answer(request, True)
            case "speak" if self._speaking is not None:
                self._speak(request, fields["text"])
            case "cancel":
                self._cancelled.discard(fields["of"])
                self._answer(request, True)
            case "ping":
                self._answer(request, True)
            case operation:
                raise ValueError(f"no such request: {operation!r}")

    def _load(self, recogniser: dict[str, Any] | None, voice: dict[str, Any] | None) -> int | None:
        if recogniser is not None:
            self._hearing = Hearing(**recogniser)
        if voice is not None:
            self._speaking = Speaking(**voice)
        return None if self._speaking is None else self._speaking.sample_rate

    def _speak(self, request: int, text: str) -> None:
        assert self._speaking is not None

        def heard(sound: bytes) -> bool:
            if request in self._cancelled:
                return False
            self._answer(request, False, sound)
            return True

        if request not in self._cancelled:
            self._speaking.speak(text, heard)
        self._answer(request, True)

    def _answer(self, request: int, last: bool, payload: bytes = b"", **fields: object) -> None:
        try:
            self._answers.write(packed({"id": request, "last": last, **fields}, payload))
            self._answers.flush()
        except OSError:
            os._exit(0)  # nobody reads any more


def main() -> None:
    """Answer the requests on stdin until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both processes; the parent decides
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(1, os.O_BINARY)
    # What a C library prints must not get between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Process(sys.stdin.buffer, answers).run()


if __name__ == "__main__":
    main()
