"""What others write into parameters: a pruned weight, a clamp, a layer that is drawn anew, weights that are loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from pfopt.core.arrays import is_of_host
from pfopt.core.records import Run
from pfopt.torch import ops
from pfopt.torch.bundles import Bundle, Piece

IN_SEARCH = -1  # the place of a whole bundle's checksum


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
        if written is not False:
            ops.copy_where(written, [_sane(piece.points, average)], [average])
            ops.copy_where(written, [average], [piece.points])
    yield
    found = ops.checksum(piece.points)
    bundle.left[place] = found if left is None else left.copy_(found)  # in place for CUDA graphs


def adopted(bundles: Sequence[Bundle], run: Run) -> bool:
    """Before a gradient of a probe, the anchor goes to where others have put the parameters, if they stood there.

    Where the probe has led them elsewhere nobody knows which of their entries the probe has moved, and which others:
    its end undoes both.

    Returns:
        Whether something is going to be undone, as far as that can be seen without waiting for a device.
    """
    at_anchor, undone = run.frozen | (run.step == run.restart_step), False
    for bundle in bundles:
        left = bundle.left.get(IN_SEARCH)
        if left is None:
            continue
        points, anchor = bundle.points(), bundle.state["anchor"]
        written = ops.checksum(points) != left
        if is_of_host(at_anchor):
            written = bool(written)
            if not written or points.equal(anchor):
                continue
            undone, written = undone or not at_anchor, at_anchor
        else:
            written = written & at_anchor.to(points.device)
        ops.copy_where(written, [_sane(points, anchor)], [anchor])
    return undone


def note(bundles: Sequence[Bundle], *, searches: bool) -> None:
    """After a gradient, remember where it left the parameters."""
    for bundle in bundles:
        left = bundle.left.pop(IN_SEARCH, None)
        if searches:
            found = ops.checksum(bundle.points())
            bundle.left[IN_SEARCH] = found if left is None else left.copy_(found)  # in place for CUDA graphs


def _sane(points: Tensor, otherwise: Tensor) -> Tensor:
    """Points, but for entries of which the square is no number: no norm can be measured there."""
    return points.where(points.square().isfinite(), otherwise)
