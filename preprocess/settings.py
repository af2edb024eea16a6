"""What the data pipeline can be told by a configuration file; the defaults are those of configs/data.yaml."""

from dataclasses import dataclass, field
from typing import ClassVar

from latentsync.schema import require

JUDGES = ("auto", "syncnet_v2", "project")
SCORES = ("auto", "hyper_iqa", "sharpness")


@dataclass
class VerifySettings:
    min_s: float = 2.0
    min_loudness_db: float = -60.0  # root mean square of all the sound, below full scale
    max_missing_s: float = 1.0  # of pictures at the end that the container promises


@dataclass
class ShotSettings:
    threshold: float = 2.0  # times the change of the neighbouring frames; PySceneDetect's own default is 3
    min_content: float = 15.0
    min_shot_s: float = 0.6


@dataclass
class SegmentSettings:
    min_s: float = 2.0  # training needs 48 frames
    max_s: float = 10.0


@dataclass
class AlignSettings:
    min_s: float = 2.0  # of a run of frames with one person's face
    crf: int = 17
    preset: str = "medium"
    detector: str = "mediapipe"


@dataclass
class SyncSettings:
    judge: str = "auto"  # syncnet_v2 where its files are, else the project's own SyncNet
    max_offset: int = 6  # frames, either way
    project_threshold: float = 0.35  # of the project's confidence; --sync_conf_threshold is SyncNet v2's
    project_every: int = 3  # frames between the windows of pictures that it looks at; sound is heard at all of them
    project_config: str = "configs/syncnet/demo.yaml"
    project_ckpt: str = ""  # its configuration's


@dataclass
class QualitySettings:
    score: str = "auto"  # hyper_iqa where its file is, else sharpness
    frames: int = 3
    hyper_iqa_threshold: float = 40.0
    sharpness_threshold: float = 33.0


@dataclass
class FilterSettings:
    every: int = 1  # frames; the high resolution filter looks at every such one
    min_share: float = 1.0  # of the frames looked at, that must be good


@dataclass
class DataConfig:
    """configs/data.yaml"""

    folder: ClassVar[str] = "configs"

    verify: VerifySettings = field(default_factory=VerifySettings)
    shots: ShotSettings = field(default_factory=ShotSettings)
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    align: AlignSettings = field(default_factory=AlignSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    filters: FilterSettings = field(default_factory=FilterSettings)

    def __post_init__(self) -> None:
        require(self.sync.judge in JUDGES, f"sync.judge is {self.sync.judge!r}; use {', '.join(JUDGES)}")
        require(self.quality.score in SCORES, f"quality.score is {self.quality.score!r}; use {', '.join(SCORES)}")
        for name, value in (
            ("segments.max_s", self.segments.max_s - self.segments.min_s),
            ("quality.frames", self.quality.frames - 1),
            ("filters.every", self.filters.every - 1),
            ("sync.max_offset", self.sync.max_offset),
            ("sync.project_every", self.sync.project_every - 1),
        ):
            require(value >= 0, f"{name} is too small; use a greater value")
