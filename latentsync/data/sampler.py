"""Which samples each process trains on."""

from collections.abc import Iterator
from itertools import count

from torch.utils.data import Sampler


class GlobalBatches(Sampler[list[int]]):
    """Batches of global sample numbers, for a loader's `batch_sampler`.

    Global batch k has the numbers from start + k * world_size * batch_size on; each rank takes its consecutive
    share. So neither the number of ranks nor a restart at another `start` changes what a number means.

    Args:
        batch_size: samples per rank.
        start: first number, a multiple of the global batch where a run resumes.
        stop: end of the numbers; a global batch that would go past it is left out. None: without end.
    """

    def __init__(
        self, batch_size: int, rank: int = 0, world_size: int = 1, *, start: int = 0, stop: int | None = None
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size or start < 0:
            raise ValueError(
                f"expected a positive batch_size, 0 <= rank < world_size and a start from 0 on, "
                f"got {batch_size}, {rank}, {world_size} and {start}"
            )
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.start, self.stop = start, stop

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        if self.stop is None:
            raise TypeError("these batches have no end")
        return max(0, self.stop - self.start) // self.global_batch

    def __iter__(self) -> Iterator[list[int]]:
        for k in count() if self.stop is None else range(len(self)):
            first = self.start + k * self.global_batch + self.rank * self.batch_size
            yield list(range(first, first + self.batch_size))
