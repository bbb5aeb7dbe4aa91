"""What others write into parameters of the main run: a pruned weight, a clamp, a layer that is drawn anew."""

from collections.abc import Iterator
from contextlib import contextmanager

from pfopt.torch import ops
from pfopt.torch.bundles import Bundle, Piece


@contextmanager
def followed(
    bundle: Bundle, place: int, piece: Piece, *, interpolates: bool, on_host: bool
) -> Iterator[None]:
    """Before the move of a piece, its average and iterate go to where others have put the parameters, if they did.

    The iterate lies beyond the parameters as seen from the average: it would go three to ten times as far.

    Args:
        bundle: of the piece.
        place: of the piece in it.
        piece: before its move, which the context holds.
        interpolates: whether gradients are taken between an iterate and an average.
        on_host: whether the controller is; otherwise nothing is read.
    """
    if not interpolates:
        yield
        return
    left = bundle.left.get(place)
    if left is not None:
        written = ops.checksum(piece.points) != left
        written = bool(written) if on_host else written
        average = piece.state["average"]
        if written is not False:  # what is not finite is no place to go to: gradients there send the run back
            ops.copy_where(written, [piece.points.where(piece.points.isfinite(), average)], [average])
    yield
    found = ops.checksum(piece.points)
    bundle.left[place] = found if left is None else left.copy_(found)  # in place for CUDA graphs
