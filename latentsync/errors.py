"""Errors a user can cause. Each message is one sentence: the file, what was expected, the remedy."""


class LatentSyncError(Exception):
    """Base of every error that is the input's fault rather than ours."""


class MediaError(LatentSyncError):
    """A video or audio file cannot be read or written."""


class NoFaceError(LatentSyncError):
    """No usable face where one is needed."""


class CheckpointError(LatentSyncError):
    """A weight file is missing, damaged, or does not fit the configuration."""


class ConfigError(LatentSyncError):
    """A configuration has an unknown key, a wrong type, or a combination that cannot work."""


class MemoryLimitError(LatentSyncError):
    """The device has too little memory for the chosen settings."""


class MeasureError(LatentSyncError):
    """A clip or a set of clips holds too little to be measured."""


class SpeechError(LatentSyncError):
    """Speech cannot be synthesised here."""


class TrainingError(LatentSyncError):
    """A training run cannot go on, because its numbers are no longer finite for instance."""
