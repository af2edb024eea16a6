"""What a room and a microphone make of clean speech."""

import numpy as np

NOISE_DB = (-50.0, -15.0)  # against the speech
SILENT_RMS = 0.05  # stands in for the speech where there is none
NOISE_EXPONENT = (0.0, 2.0)  # of 1/f in power: white ... brown
HUM_HZ = 20.0  # below it noise grows no further
REVERB_PROBABILITY = 0.6
DECAY_S = (0.1, 0.5)  # to -60 dB
WET = (0.05, 0.35)  # energy of the echoes against the direct sound
ECHO_DELAY_S = 0.004
SWELL_DB = 3.0  # slow changes of loudness, as of a head that moves
SWELL_HZ = (0.05, 0.4)
PEAK = (0.1, 0.95)


def add_room(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Echoes, slow changes of loudness, coloured noise and a random level. (n,) float32 in (-1, 1), as long.

    The direct sound keeps its time. The same generator state gives the same result.
    """
    if not len(samples):
        return samples.astype(np.float32)
    sound = samples.astype(np.float64)
    if rng.random() < REVERB_PROBABILITY:
        sound = _reverberate(sound, _echoes(sample_rate, rng))
    sound = sound * _swell(len(sound), sample_rate, rng)
    sound = sound + _noise(len(sound), sample_rate, rng) * _rms(sound) * 10 ** (rng.uniform(*NOISE_DB) / 20)
    return (sound * rng.uniform(*PEAK) / np.abs(sound).max()).astype(np.float32)


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound**2))) or SILENT_RMS


def _echoes(sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """An impulse response: the direct sound, and after it noise that decays exponentially."""
    decay_s = rng.uniform(*DECAY_S)
    time_s = np.arange(1, int(decay_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s) * (time_s > ECHO_DELAY_S)
    return np.concatenate([[1.0], tail * np.sqrt(rng.uniform(*WET) / np.sum(tail**2))])


def _reverberate(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    size = 1 << (len(sound) + len(response) - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)]


def _swell(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A gain around 1."""
    phase = 2 * np.pi * (rng.uniform(*SWELL_HZ) * np.arange(length) / sample_rate + rng.random())
    return 10 ** (rng.uniform(0, SWELL_DB) * np.sin(phase) / 20)


def _noise(length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of RMS 1 whose power falls with a random power of the frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / sample_rate), HUM_HZ)
    noise = np.fft.irfft(spectrum * frequency ** (-rng.uniform(*NOISE_EXPONENT) / 2), length)
    return noise / _rms(noise)
