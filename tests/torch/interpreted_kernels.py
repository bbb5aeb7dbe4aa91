"""Triton's kernels against the eager code; ``test_kernels`` runs this file where ``TRITON_INTERPRET=1`` is set."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from pfopt.core.main_run import Decision
from pfopt.core.step_size import CoordinateRule
from pfopt.core.update import Rule
from pfopt.torch import ParameterFreeSGD, compilers, moves, ops
from pfopt.torch.bundles import Bundle
from pfopt.torch.moves import GroupRule

assert os.environ["TRITON_INTERPRET"] == "1"
interpreter = pytest.importorskip("triton.runtime.interpreter")
launch = pytest.importorskip("pfopt.torch.launch")

pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning"
)  # the interpreter's, for entries that are masked

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SMALL: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 5)]
PLAIN: dict[str, Any] = {"rule": Rule(size=1000), "maximize": False}
PLAIN |= {"averages": True, "interpolates": True}


@pytest.fixture(autouse=True)
def kernels_on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "TRITON", ("cpu",))
    builder, bfloat16 = interpreter.InterpreterBuilder, interpreter.tl.bfloat16
    cast = builder.cast_impl

    def rounded(self: Any, source: Any, kind: Any) -> Any:
        """As a GPU rounds; the interpreter cuts off."""
        if kind.scalar != bfloat16 or source.dtype.scalar != interpreter.tl.float32:
            return cast(self, source, kind)
        bits = torch.tensor(source.data).to(torch.bfloat16).view(torch.int16).numpy()
        return interpreter.TensorHandle(bits.view("uint16"), bfloat16)

    monkeypatch.setattr(builder, "cast_impl", rounded)


def bundles(
    groups: list[list[tuple[int, ...]]], dtype: torch.dtype, *, offset: int = 0, given: bool = True
) -> list[Bundle]:
    """Of tensors of some shapes each; equal at every call. The last one has no gradient if not ``given``."""
    draw, wide = torch.Generator().manual_seed(0), ops.computed(dtype)

    def random(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        values = torch.randn(shape, generator=draw, dtype=torch.float64)
        return torch.empty(offset + values.numel(), dtype=kind)[offset:].view(shape).copy_(values)

    made, first = [], 0
    for place, shapes in enumerate(groups):
        params = [random(shape, dtype) for shape in shapes]
        shape = shapes[0] if len(shapes) == 1 else (sum(param.numel() for param in params),)
        names = ("anchor", "average", "mean_square", "momentum_buffer")
        state = {name: random(shape, wide) for name in names}
        state["mean_square"].square_()
        if dtype != wide:  # an iterate that rounds to the parameter, but for every third entry
            points = torch.cat([param.reshape(-1) for param in params]).to(wide)
            points *= 1 + 2.0**-13 * torch.rand(points.shape, generator=draw)
            points[::3] += 1
            state["iterate"] = random(shape, wide).copy_(points.view(shape))
        gradients = [random(shape, dtype) for shape in shapes]
        gradients = gradients if given or place + 1 < len(groups) else []
        places = range(first, first := first + len(shapes))
        made.append(Bundle(0, places, params, state, gradients, gradients))
    return made


def decision(*, taken: bool = True, restart: bool = False, moving: bool = True) -> Decision:
    def number(value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64)

    weight = 1.0 if restart else 0.3 * taken
    return Decision(
        taken=torch.tensor(taken),
        restart=torch.tensor(restart),
        measured=torch.tensor(True),
        moving=torch.tensor(moving),
        step_sizes=torch.linspace(0.05, 0.2, 20, dtype=torch.float64),
        average_weight=number(weight),
        beta=number(2 / 3),
        next_beta=number(0.7 if taken else 2 / 3),
        coordinate_rule=CoordinateRule(number(0.2), number(0.01), number(0.5), number(80.0), number(30.0)),
        share_of_run=number(0.1),
    )


def table(made: list[Bundle]) -> Any:
    places = [place for bundle in made for place in bundle.places]
    return launch.table({}, None, made, [(1 + place, 3) for place in places])


def compare(groups: list[list[tuple[int, ...]]], dtype: torch.dtype, **options: Any) -> list[Bundle]:
    """Move bundles in both ways; what is left is equal."""
    layout = {name: options.pop(name) for name in ("offset", "given") if name in options}
    now = decision(**{name: options.pop(name) for name in ("taken", "restart", "moving") if name in options})
    rule, rtol = GroupRule(**{**PLAIN, **options}), 1e-12 if dtype == torch.float64 else 2e-5
    one, other = bundles(groups, dtype, **layout), bundles(groups, dtype, **layout)
    if not now.taken:
        for bundle in (*one, *other):
            bundle.gradients[0].fill_(torch.nan)
    sums = launch.move(table(one), rule, now).split([len(bundle.params) for bundle in one], 1)
    wide = ops.computed(dtype)
    for bundle, twin, found in zip(one, other, sums, strict=True):
        own = now.step_sizes[[1 + place for place in bundle.places]]
        steps = torch.maximum(own, now.step_sizes[3]).to(wide)
        steps = steps[0] if len(steps) == 1 else steps
        eager = moves.in_main_run(twin, rule, moves.order(now, CPU, wide), steps)
        assert eager.sums is not None
        expected = [each for each in (*eager.sums, eager.grad_sq) if each is not None]
        for row, each in zip(found, expected, strict=True):
            torch.testing.assert_close(row, each.reshape(-1), rtol=rtol, atol=0.0, equal_nan=True)
        torch.testing.assert_close(bundle.params, twin.params)
        torch.testing.assert_close(bundle.state, twin.state, rtol=1e-5, atol=1e-5)
    return one


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_those_of_eager_code(dtype: torch.dtype) -> None:
    large = (70000,) if dtype == torch.float32 else (5000,)
    made = bundles([SMALL, [(1025,)], [large], [(3, 5)]], dtype, given=False)
    found = launch.norms_sq(table(made))
    expected = [bundle.norms_sq(on_host=False).double() for bundle in made]
    torch.testing.assert_close(found[0], torch.cat(expected), rtol=1e-5, atol=0.0)


def test_norms_of_large_gradients_do_not_overflow() -> None:
    gradient = torch.full((3,), 1e30)
    made = [Bundle(0, [0], [gradient], {"anchor": gradient}, [gradient], [gradient])]
    found = launch.norms_sq(table(made))
    torch.testing.assert_close(found, torch.full((1, 1), 3e60, dtype=torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_move_is_the_eager_one(dtype: torch.dtype) -> None:
    large = (70000,) if dtype == torch.float32 else (5000,)
    compare([SMALL, [(1025,)], [large], [()]], dtype)


@pytest.mark.parametrize(
    ("options", "dtypes"),
    [
        ({"rule": Rule(size=1000, rate=0.5, momentum=0.9)}, DTYPES),
        ({"rule": Rule(momentum=0.9, nesterov=True, weight_decay=3.0), "moving": False}, DTYPES),
        ({"rule": Rule(size=1000, rate=3.0, largest=1.5), "maximize": True}, DTYPES),
        ({"rule": Rule(size=1000, rate=0.5, weight_decay=3.0), "maximize": True}, DTYPES[1:3]),
        ({"interpolates": False}, DTYPES[1:3]),
        ({"averages": False, "interpolates": False}, DTYPES[1:3]),
    ],
)
def test_a_move_with_options_is_the_eager_one(options: dict[str, Any], dtypes: list[torch.dtype]) -> None:
    for dtype in dtypes:
        compare([[(), (0,), (7,)], [(2049,)]], dtype, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_misaligned_tensors_move_as_others_do(dtype: torch.dtype) -> None:
    compare([[(1,), (3, 5)], [(4, 513)]], dtype, offset=1)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_gradient_that_is_not_taken_moves_nothing(dtype: torch.dtype, restart: bool) -> None:
    rule = Rule(size=1000, momentum=0.9)
    before = bundles([SMALL], dtype)
    (after,) = compare([SMALL], dtype, rule=rule, taken=False, restart=restart)
    for name in ("mean_square", "momentum_buffer", "anchor"):
        assert torch.equal(after.state[name], before[0].state[name])
    if restart:
        torch.testing.assert_close(after.state["average"], before[0].state["anchor"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_tensor_without_a_gradient_follows_the_average(dtype: torch.dtype) -> None:
    rule = Rule(size=1000, momentum=0.9, nesterov=True, weight_decay=3.0)
    compare([[(7,)], [(3, 5), ()]], dtype, rule=rule, given=False)


def test_a_table_follows_the_gradients_but_not_in_a_capture() -> None:
    made, known = bundles([[(7,)]], torch.float32), {}
    one = launch.table(known, None, made, [(0, 0)])
    first = one.on_device
    assert launch.table(known, None, made, [(0, 0)]).on_device is first
    assert one.find(made, capturing=True)
    assert any(each is first for each in launch._CAPTURED)
    made[0].directions = [made[0].directions[0].clone()]
    assert not one.find(made, capturing=True)
    assert one.on_device is first
    assert one.find(made, capturing=False)
    assert one.on_device is not first


# ---------------------------------------------------------------- whole runs


def trained(dtype: torch.dtype = torch.float32, **kwargs: Any) -> list[Tensor]:
    """Parameters after a run; one of them in another memory format, one with gradients that are laid out otherwise."""
    draw = torch.Generator().manual_seed(0)
    params = [Parameter(torch.randn(shape, generator=draw).to(dtype)) for shape in [(2, 3, 2, 2), (3, 2)]]
    params[0] = Parameter(params[0].detach().to(memory_format=torch.channels_last))
    optimizer = ParameterFreeSGD(params, 16, momentum=0.9, weight_decay=0.01, **kwargs)
    for step in range(16):
        for param in params:
            param.grad = param.detach() - 1 + 0.1 * torch.randn(param.shape, generator=draw).to(dtype)
        params[1].grad = params[1].grad.t().contiguous().t() if step % 2 else None  # type: ignore[union-attr]
        optimizer.step()
    assert optimizer.status().phase == "done"
    return [param.detach() for param in params]


@pytest.mark.parametrize(("dtype", "capturable"), [(torch.float32, False), (torch.bfloat16, True)])
def test_a_run_by_kernels_is_the_eager_one(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, capturable: bool
) -> None:
    moved = []
    move = launch.move
    monkeypatch.setattr(launch, "move", lambda *arguments: moved.append(1) or move(*arguments))
    found = trained(dtype, fused=True, capturable=capturable)
    assert len(moved) > 5
    torch.testing.assert_close(found, trained(dtype, capturable=capturable))


def test_a_kernel_that_fails_leaves_the_eager_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.kernels, "move", None)
    with pytest.warns(UserWarning, match="fused=True: Triton failed, so that moves are eager") as warned:
        found = trained(fused=True)
    assert [each.filename for each in warned] == [__file__]
    torch.testing.assert_close(found, trained())
