"""The shared library of espeak-ng: text to samples and to the moments of its phonemes."""

# espeak-ng is GPL-3: it is optional, loaded at run time where a user has it, and never part of this repository.

import _ctypes
import ctypes
import ctypes.util
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.errors import SpeechError

INSTALL = "pip install espeakng-loader==0.2.4"
VARIABLE = "LATENTSYNC_ESPEAK"  # the path of the library, where another one is wanted
OLDEST = (1, 52)  # 1.51 deadlocks now and then when it is loaded again, and its events have no stress

# speak_lib.h
SYNCHRONOUS = 2
PHONEME_EVENTS, IPA_EVENTS, DONT_EXIT = 1, 2, 0x8000
UTF8 = 1
CHARACTERS = 1  # of the units that a position in the text counts
END_OF_EVENTS, PHONEME = 0, 7
RATE, PITCH, PITCH_RANGE = 1, 3, 4


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("symbol", ctypes.c_char * 8),  # of a union whose other members are an int and a pointer
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_lock = threading.Lock()  # the library has one state for the whole process


@dataclass(frozen=True)
class Library:
    """Where the library is, and the folder with its espeak-ng-data (None: the one it was built for)."""

    path: str
    data: str | None


@dataclass(frozen=True)
class Utterance:
    samples: np.ndarray  # (n,) int16
    sample_rate: int
    phonemes: list[tuple[int, str]]  # first sample and IPA with stress marks; empty for a pause


def find_library() -> Library:
    """What LATENTSYNC_ESPEAK names, else the package espeakng-loader's, else the system's. Raises SpeechError."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SpeechError(f"{VARIABLE} names {named}, which is not a file: correct or unset it")
        return _with_data_beside(Path(named))
    spec = importlib.util.find_spec("espeakng_loader")
    if spec and spec.origin:
        import espeakng_loader

        return _with_data_beside(Path(espeakng_loader.get_library_path()))
    for name in ("espeak-ng", "libespeak-ng"):
        found = ctypes.util.find_library(name)
        if found:
            return Library(found, None)
    raise SpeechError(f"speech needs espeak-ng, which is not installed: run `{INSTALL}`")


def _with_data_beside(path: Path) -> Library:
    return Library(str(path), str(path.parent) if (path.parent / "espeak-ng-data").is_dir() else None)


def usable_library() -> Library:
    """The library that `synthesise` takes, after loading it once. Raises SpeechError."""
    library = find_library()
    with _lock:
        _unload(_open(library))
    return library


def _open(library: Library) -> ctypes.CDLL:
    try:
        handle = ctypes.CDLL(library.path)
        handle.espeak_Info.restype = ctypes.c_char_p
        version = handle.espeak_Info(None).decode()
    except (OSError, AttributeError) as error:
        raise SpeechError(f"{library.path} does not load as espeak-ng ({error}): run `{INSTALL}`") from error
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        _unload(handle)
        raise SpeechError(f"{library.path} is espeak-ng {version}, and 1.52 is needed: run `{INSTALL}`")
    return handle


def synthesise(text: str, *, voice: str, rate: int, pitch: int, pitch_range: int) -> Utterance:
    """Speak `text` with the voice of that file name. The same arguments give the same samples.

    Words per minute 80...450, pitch and its range 0...100. Raises SpeechError.
    """
    with _lock, _loaded(find_library()) as (library, sample_rate):
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechError(f"espeak-ng has no voice {voice}: give another one or run `{INSTALL}`")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (PITCH_RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        collector = _Collector()
        callback = _Callback(collector)  # must live as long as the library may call it
        library.espeak_SetSynthCallback(callback)
        data = text.encode()
        status = library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, CHARACTERS, 0, UTF8, None, None)
        library.espeak_Synchronize()
    if collector.error:
        raise collector.error
    if status != 0:
        raise SpeechError(f"espeak-ng cannot speak {text[:60]!r} (status {status}): give another text")
    samples = np.concatenate(collector.blocks) if collector.blocks else np.zeros(0, np.int16)
    return Utterance(samples, sample_rate, collector.phonemes)


class _Collector:
    """The callback: keeps what arrives, and the exception that ctypes would only print."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.phonemes: list[tuple[int, str]] = []
        self.error: BaseException | None = None

    def __call__(self, samples: Any, count: int, events: Any) -> int:
        """0 to go on, 1 to stop the synthesis."""
        try:
            self.collect(samples, count, events)
        except BaseException as error:  # Ctrl-C too
            self.error = error
        return int(self.error is not None)

    def collect(self, samples: Any, count: int, events: Any) -> None:
        if samples and count > 0:
            self.blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in _until_end(events):
            if event.type == PHONEME:
                self.phonemes.append((event.sample, event.symbol.decode("utf-8", "ignore")))


def _until_end(events: Any) -> Iterator[_Event]:
    index = 0
    while events[index].type != END_OF_EVENTS:
        yield events[index]
        index += 1


@contextmanager
def _loaded(library: Library) -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library in its first state, and its sample rate; unloaded afterwards.

    Loading takes 1 ms and is the only complete reset: static variables (the flutter's phase, random numbers,
    the last pitch) outlive espeak_Initialize and even espeak_Terminate, and change the next sentence.
    """
    handle = _open(library)
    try:
        data = library.data.encode() if library.data else None
        sample_rate = handle.espeak_Initialize(SYNCHRONOUS, 0, data, PHONEME_EVENTS | IPA_EVENTS | DONT_EXIT)
        if sample_rate <= 0:
            raise SpeechError(f"espeak-ng finds no data in {library.data or 'its folder'}: run `{INSTALL}`")
        handle.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it was the second of the day
        yield handle, sample_rate
        handle.espeak_Terminate()
    finally:
        _unload(handle)


def _unload(library: ctypes.CDLL) -> None:
    """ctypes itself never unloads."""
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)
