"""A stage for many pieces: what is known is skipped, what is new is recorded at once."""

from collections.abc import Sequence
from contextlib import closing

from tqdm import tqdm

from .executors import Executor
from .manifest import Manifest
from .piece import Piece
from .stage import FAILED, KEPT, Outcome, Stage


def run_stage(
    stage: Stage,
    pieces: Sequence[Piece],
    executor: Executor,
    manifest: Manifest,
    *,
    retry_failed: bool = False,
    quiet: bool = False,
) -> tuple[list[Piece], list[Outcome]]:
    """What the stage makes of all pieces, sorted by key, and what became of those that it did not keep."""
    folder = manifest.root / stage.folder
    outcomes: list[Outcome] = []
    left: dict[str, tuple[Piece, str]] = {}
    for piece in pieces:
        known = manifest.known(stage, piece)
        if known is None or (retry_failed and known.status == FAILED):
            left[piece.key] = piece, piece.fingerprint()
        else:
            outcomes.append(known)
    with (
        tqdm(total=len(pieces), initial=len(outcomes), desc=stage.name, unit="clip", disable=quiet) as bar,
        closing(executor.map(stage, [piece for piece, _ in left.values()], folder)) as news,
    ):
        for outcome in news:
            manifest.record(stage, outcome, left[outcome.piece.key][1])
            outcomes.append(outcome)
            bar.update()
    kept = [made for outcome in outcomes if outcome.status == KEPT for made in outcome.outputs]
    return sorted(kept, key=lambda made: made.key), [outcome for outcome in outcomes if outcome.status != KEPT]
