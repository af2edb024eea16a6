"""SyncNet's mel spectrogram and its windows."""

import numpy as np

from latentsync.data.mel import filter_bank, mel_spectrogram, mel_start

from . import Golden, family, stated_input


@family("syncnet mel")
def syncnet_mel(golden: Golden) -> dict:
    starts = golden.arrays["starts"]
    return {
        "basis": filter_bank().numpy(),
        "mel": mel_spectrogram(stated_input(golden, "sound")),
        "starts": starts,
        "window_first_column": np.array([mel_start(int(start)) for start in starts]),
    }
