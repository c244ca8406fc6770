from __future__ import annotations

import builtins
import struct
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reactivex import Observable, operators
from reactivex.scheduler import CurrentThreadScheduler

from tests.audio.sounds import Sound, noise, sine
from voxrx.audio import AudioFile, audio_file, level_db, wav_writer
from voxrx.clock import VirtualClock
from voxrx.errors import AudioFileError, AudioFormatError, MissingExtraError
from voxrx.records.frame import AudioFrame


def written(path: Path, samples: Any, rate: int = 16_000, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def wav_header(*, rate: int = 16_000, channels: int = 1, data_bytes: int = 0) -> bytes:
    chunk = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", data_bytes)
    return b"RIFF" + struct.pack("<I", len(body) + data_bytes) + body


def frames_in(source: Observable[AudioFrame]) -> list[AudioFrame]:
    frames: list[AudioFrame] = []
    errors: list[Exception] = []
    source.subscribe(frames.append, errors.append)
    assert errors == []
    return frames


def sound_in(source: Observable[AudioFrame]) -> Sound:
    return np.concatenate([frame.samples for frame in frames_in(source)])


def error_of(source: Observable[AudioFrame]) -> Exception:
    errors: list[Exception] = []
    source.subscribe(lambda frame: None, errors.append)
    assert len(errors) == 1
    return errors[0]


# --- reading ----------------------------------------------------------------------------------------------------


def test_frames_have_the_asked_length_rate_and_index(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wav", sine(0.1))

    frames = frames_in(audio_file(path, realtime=False, frame_ms=20))

    assert [(len(f), f.sample_rate, f.index) for f in frames] == [(320, 16_000, 320 * i) for i in range(5)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 50_000), frame_ms=st.sampled_from([1, 7.5, 10, 20, 32, 1000]))
def test_frames_joined_are_the_file_and_zeros_to_a_whole_frame(tmp_path: Path, count: int, frame_ms: float) -> None:
    samples = noise(count / 16_000, -20.0, seed=count)
    path = written(tmp_path / "x.wav", samples)

    joined = sound_in(audio_file(path, realtime=False, frame_ms=frame_ms))

    assert len(joined) % round(16 * frame_ms) == 0
    assert 0 <= len(joined) - count < 16 * frame_ms
    np.testing.assert_array_equal(joined[:count], samples)
    assert not joined[count:].any()


def test_samples_of_frames_are_read_only(tmp_path: Path) -> None:
    frames = frames_in(audio_file(written(tmp_path / "x.wav", sine(0.05)), realtime=False))

    assert not any(frame.samples.flags.writeable for frame in frames)


def test_channels_are_averaged(tmp_path: Path) -> None:
    eight = np.tile(np.linspace(0.0, 0.7, 8, dtype=np.float32), (320, 1))

    joined = sound_in(audio_file(written(tmp_path / "x.wav", eight), realtime=False))

    np.testing.assert_allclose(joined, 0.35, atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "DOUBLE", "ULAW"])
def test_every_sample_type_has_the_same_level(tmp_path: Path, subtype: str) -> None:
    path = written(tmp_path / "x.wav", sine(1.0, amplitude=0.5), subtype=subtype)

    assert level_db(sound_in(audio_file(path, realtime=False))) == pytest.approx(-9.03, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_another_rate_is_converted_in_pieces_without_seams(tmp_path: Path, rate: int) -> None:
    path = written(tmp_path / "x.wav", sine(2.5, hz=440, amplitude=0.5, rate=rate), rate)

    joined = sound_in(audio_file(path, realtime=False))

    inner = slice(1600, 38_400)
    assert len(joined) == 40_000
    np.testing.assert_allclose(joined[inner], sine(2.5, hz=440, amplitude=0.5)[inner], atol=1e-3)


def test_samples_that_are_not_finite_become_zero(tmp_path: Path) -> None:
    samples = np.full(320, 0.5, np.float32)
    samples[[0, 1, 2]] = np.nan, np.inf, -np.inf

    joined = sound_in(audio_file(written(tmp_path / "x.wav", samples), realtime=False))

    assert joined[:4].tolist() == [0.0, 0.0, 0.0, 0.5]


def test_samples_beyond_full_scale_are_limited(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wav", np.array([1e30, -3.0], np.float32))

    assert sound_in(audio_file(path, realtime=False))[:2].tolist() == [1.0, -1.0]


def test_each_subscription_reads_the_file_anew(tmp_path: Path) -> None:
    source = audio_file(written(tmp_path / "x.wav", sine(0.5)), realtime=False)

    np.testing.assert_array_equal(sound_in(source), sound_in(source))


def test_file_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.wav", sine(5.0))
    sizes: list[int] = []
    read = soundfile.SoundFile.read

    def counting(self: soundfile.SoundFile, frames: int = -1, *args: Any, **kwargs: Any) -> Any:
        sizes.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    frames_in(audio_file(path, realtime=False))

    assert set(sizes) == {16_000}


def test_reading_stops_when_the_subscriber_has_enough(tmp_path: Path) -> None:
    seen: list[AudioFrame] = []
    source = audio_file(written(tmp_path / "x.wav", sine(5.0)), realtime=False)

    source.pipe(operators.do_action(seen.append), operators.take(3)).subscribe()

    assert len(seen) == 3


def test_arguments_can_be_read_back(tmp_path: Path) -> None:
    source = audio_file(str(tmp_path / "x.wav"), realtime=False, sample_rate=8000, frame_ms=10)

    assert isinstance(source, AudioFile)
    assert (source.path, source.realtime, source.sample_rate, source.frame_ms) == (
        tmp_path / "x.wav",
        False,
        8000,
        10.0,
    )


# --- pace -------------------------------------------------------------------------------------------------------


def test_paced_frames_come_when_their_last_sample_would_have_been_captured(tmp_path: Path) -> None:
    clock = VirtualClock()
    started = clock.now()
    times: list[float] = []
    completed: list[float] = []
    source = audio_file(written(tmp_path / "x.wav", sine(0.1)), frame_ms=20).paced(clock.scheduler)

    source.subscribe(
        lambda frame: times.append((clock.now() - started) / timedelta(milliseconds=1)),
        on_completed=lambda: completed.append((clock.now() - started) / timedelta(milliseconds=1)),
    )
    clock.advance(1.0)

    assert times == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert completed == [100.0]


def test_realtime_uses_the_scheduler_given_to_subscribe(tmp_path: Path) -> None:
    clock = VirtualClock()
    frames: list[AudioFrame] = []

    audio_file(written(tmp_path / "x.wav", sine(0.1))).subscribe(frames.append, scheduler=clock.scheduler)
    clock.advance(0.05)

    assert len(frames) == 2


def test_pace_does_not_drift_over_ten_minutes_of_odd_frames(tmp_path: Path) -> None:
    clock = VirtualClock()
    started = clock.now()
    last: list[AudioFrame] = []
    path = written(tmp_path / "x.wav", np.zeros(1000 * 600, np.float32), 1000)
    source = audio_file(path, sample_rate=1000, frame_ms=7).paced(clock.scheduler)

    source.pipe(operators.last()).subscribe(last.append, scheduler=CurrentThreadScheduler.singleton())
    clock.advance(599.0)
    assert last == []
    while clock.step():
        pass

    assert clock.now() - started == timedelta(seconds=last[0].end / 1000)


def test_a_real_thread_paces_when_no_scheduler_is_given(tmp_path: Path) -> None:
    done = threading.Event()
    threads: set[str] = set()
    source = audio_file(written(tmp_path / "x.wav", sine(0.03)), frame_ms=10)

    source.subscribe(lambda frame: threads.add(threading.current_thread().name), on_completed=done.set)

    assert done.wait(5)
    assert threads == {"voxrx-timers"}


def test_no_frame_comes_after_dispose(tmp_path: Path) -> None:
    clock = VirtualClock()
    frames: list[AudioFrame] = []
    source = audio_file(written(tmp_path / "x.wav", sine(1.0))).paced(clock.scheduler)

    subscription = source.subscribe(frames.append)
    clock.advance(0.04)
    subscription.dispose()
    clock.advance(1.0)

    assert len(frames) == 2


# --- the file is closed -----------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[soundfile.SoundFile]:
    files: list[soundfile.SoundFile] = []
    real = soundfile.SoundFile

    def opening(*args: Any, **kwargs: Any) -> soundfile.SoundFile:
        files.append(real(*args, **kwargs))
        return files[-1]

    monkeypatch.setattr(soundfile, "SoundFile", opening)
    return files


def test_file_is_opened_on_subscribe_and_closed_on_completion(
    tmp_path: Path, opened: list[soundfile.SoundFile]
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(data_bytes=640) + bytes(640))
    source = audio_file(path, realtime=False)
    before = len(opened)

    frames_in(source)

    assert before == 0
    assert [file.closed for file in opened] == [True]


def test_file_is_closed_on_dispose(tmp_path: Path, opened: list[soundfile.SoundFile]) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(data_bytes=64_000) + bytes(64_000))
    clock = VirtualClock()

    subscription = audio_file(path).paced(clock.scheduler).subscribe()
    was_open = not opened[0].closed
    subscription.dispose()

    assert was_open
    assert opened[0].closed


@pytest.mark.parametrize("realtime", [True, False])
def test_file_is_closed_when_the_subscriber_raises(
    tmp_path: Path, opened: list[soundfile.SoundFile], realtime: bool
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(data_bytes=64_000) + bytes(64_000))
    clock = VirtualClock()

    def refuse(frame: AudioFrame) -> None:
        raise LookupError("no")

    def listen() -> None:
        audio_file(path, realtime=realtime).subscribe(refuse, scheduler=clock.scheduler)
        clock.advance(1.0)

    with pytest.raises(LookupError):
        listen()

    assert opened[0].closed


def test_a_read_that_fails_in_the_middle_is_reported_and_closes(
    tmp_path: Path, opened: list[soundfile.SoundFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(data_bytes=96_000) + bytes(96_000))
    clock = VirtualClock()
    frames: list[AudioFrame] = []
    errors: list[Exception] = []

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise soundfile.LibsndfileError(2)

    audio_file(path).paced(clock.scheduler).subscribe(frames.append, errors.append)
    monkeypatch.setattr(opened[0], "read", broken)
    clock.advance(5.0)

    assert len(frames) == 50
    assert isinstance(errors[0], AudioFileError)
    assert "cannot be read further" in str(errors[0])
    assert opened[0].closed


# --- files that cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"this is not sound at all, it is text" * 10, "cannot be opened as a sound file"),
        (wav_header(data_bytes=640)[:20], "cannot be opened as a sound file"),
        (wav_header(), "no samples"),
        (wav_header(rate=0, data_bytes=640) + bytes(640), "cannot be opened|0 Hz"),
        (wav_header(rate=10_000_000, data_bytes=640) + bytes(640), "10000000 Hz"),
    ],
    ids=["empty", "text", "cut header", "no samples", "0 Hz", "10 MHz"],
)
@pytest.mark.parametrize("realtime", [True, False])
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, content: bytes, said: str, realtime: bool) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)

    error = error_of(audio_file(path, realtime=realtime))

    assert isinstance(error, AudioFileError)
    assert str(error).startswith(str(path))
    with pytest.raises(AudioFileError, match=said):
        raise error


def test_a_file_cut_in_its_samples_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(wav_header(data_bytes=64_000) + b"\x00\x40" * 1000)

    joined = sound_in(audio_file(path, realtime=False))

    assert len(joined) == 1280
    assert set(joined[:1000].tolist()) == {0.5}


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    error = error_of(audio_file(tmp_path / "none.wav", realtime=False))

    assert isinstance(error, AudioFileError)
    assert "there is no such file" in str(error)


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    error = error_of(audio_file(tmp_path, realtime=False))

    assert isinstance(error, AudioFileError)
    assert "a directory" in str(error)


def test_raw_samples_are_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(bytes(640))

    error = error_of(audio_file(path, realtime=False))

    assert isinstance(error, AudioFileError)
    assert "header" in str(error)


@pytest.mark.parametrize("sample_rate", [0, -1, 999, 768_001, 16_000.0, True, "16000", None])
def test_a_wrong_sample_rate_is_refused_at_once(sample_rate: Any) -> None:
    with pytest.raises(AudioFormatError, match="sample_rate"):
        audio_file("x.wav", sample_rate=sample_rate)


@pytest.mark.parametrize("frame_ms", [0, -20, float("nan"), float("inf"), 1e9, 0.001, True, "20", None])
def test_a_wrong_frame_length_is_refused_at_once(frame_ms: Any) -> None:
    with pytest.raises(AudioFormatError, match="frame_ms"):
        audio_file("x.wav", frame_ms=frame_ms)


@pytest.mark.parametrize(("package", "rate"), [("soundfile", 16_000), ("soxr", 8_000)])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, rate: int
) -> None:
    path = written(tmp_path / "x.wav", sine(0.1, rate=rate), rate)
    real_import = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    error = error_of(audio_file(path, realtime=False))

    assert isinstance(error, MissingExtraError)
    assert package in str(error)
    assert "voxrx[audio]" in str(error)


# --- writing ----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50), min_size=1, max_size=5))
def test_sixteen_bit_samples_come_back_as_they_were(tmp_path: Path, chunks: list[list[int]]) -> None:
    path = tmp_path / "x.wav"
    with wav_writer(path) as writer:
        for chunk in chunks:
            writer.on_next(AudioFrame.of(np.array(chunk, np.int16), 16_000))

    samples, rate = soundfile.read(path, dtype="int16")

    assert (samples.tolist(), rate) == ([sample for chunk in chunks for sample in chunk], 16_000)


def test_the_file_is_sixteen_bit_wav(tmp_path: Path) -> None:
    with wav_writer(tmp_path / "x.bin") as writer:
        writer.on_next(AudioFrame(sine(0.1), 16_000))

    info = soundfile.info(tmp_path / "x.bin")

    assert (info.format, info.subtype, info.channels, info.frames) == ("WAV", "PCM_16", 1, 1600)


def test_what_is_beyond_full_scale_does_not_wrap(tmp_path: Path) -> None:
    with wav_writer(tmp_path / "x.wav") as writer:
        writer.on_next(AudioFrame.of([2.0, -2.0, 1.0, -1.0, np.inf, np.nan], 16_000))

    samples, _ = soundfile.read(tmp_path / "x.wav", dtype="int16")

    assert samples.tolist() == [32_767, -32_768, 32_767, -32_768, 0, 0]


def test_frames_of_another_rate_are_converted(tmp_path: Path) -> None:
    with wav_writer(tmp_path / "x.wav", sample_rate=16_000) as writer:
        for rate in (24_000, 16_000, 8_000):
            for begin in range(10):
                writer.on_next(AudioFrame(sine(0.1, amplitude=0.5, rate=rate), rate, begin))

    samples, rate = soundfile.read(tmp_path / "x.wav", dtype="float32")

    assert (len(samples), rate) == (48_000, 16_000)
    assert level_db(samples) == pytest.approx(-9.03, abs=0.1)


def test_completion_closes_the_file(tmp_path: Path) -> None:
    writer = wav_writer(tmp_path / "copy.wav")
    source = audio_file(written(tmp_path / "x.wav", sine(0.1), subtype="PCM_16"), realtime=False)

    source.subscribe(writer)

    assert writer.closed
    np.testing.assert_array_equal(sound_in(audio_file(tmp_path / "copy.wav", realtime=False)), sound_in(source))


def test_an_error_closes_the_file_with_what_came(tmp_path: Path) -> None:
    writer = wav_writer(tmp_path / "x.wav")
    writer.on_next(AudioFrame(sine(0.1), 16_000))

    writer.on_error(ValueError("lost"))

    assert soundfile.info(tmp_path / "x.wav").frames == 1600


def test_closing_twice_and_frames_after_it_change_nothing(tmp_path: Path) -> None:
    writer = wav_writer(tmp_path / "x.wav")
    writer.on_next(AudioFrame(sine(0.1), 16_000))
    writer.close()

    writer.close()
    writer.on_next(AudioFrame(sine(0.1), 16_000))

    assert soundfile.info(tmp_path / "x.wav").frames == 1600


def test_no_file_is_made_before_the_first_frame(tmp_path: Path) -> None:
    wav_writer(tmp_path / "x.wav").close()

    assert not (tmp_path / "x.wav").exists()


def test_an_empty_file_is_made_when_the_rate_is_known(tmp_path: Path) -> None:
    wav_writer(tmp_path / "x.wav", sample_rate=24_000).on_completed()

    info = soundfile.info(tmp_path / "x.wav")

    assert (info.frames, info.samplerate) == (0, 24_000)


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    writer = wav_writer(tmp_path / "none" / "x.wav")

    with pytest.raises(AudioFileError, match="cannot be written") as caught:
        writer.on_next(AudioFrame(sine(0.1), 16_000))

    assert str(tmp_path / "none" / "x.wav") in str(caught.value)


def test_a_wrong_rate_to_write_is_refused_at_once() -> None:
    with pytest.raises(AudioFormatError, match="sample_rate"):
        wav_writer("x.wav", sample_rate=0)
