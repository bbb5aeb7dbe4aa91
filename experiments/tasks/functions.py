"""Tasks as pure jax functions, on the data and from the initial point of their torch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array, lax

from experiments.tasks.networks import DeepTask
from experiments.tasks.objective import ConvexTask
from experiments.tasks.sparse import SparseRows
from experiments.tasks.task import Problem, Task

Params = list[Array]


class JaxTask(NamedTuple):
    """A task for jax.

    Attributes:
        params: The initial point: the parameters of the torch module, in its order.
        loss: Mini-batch objective of parameters and row indices (batch,).
        problem: The torch module, for scores.
    """

    params: Params
    loss: Callable[[Params, Array], Array]
    problem: Problem


def make_jax_task(task: Task, seed: int) -> JaxTask:
    """The task at its initial point; float64 for convex tasks, float32 for networks, as in torch."""
    if task.name not in LOGITS and (
        not isinstance(task, ConvexTask) or isinstance(task.features, SparseRows)
    ):
        raise ValueError(f"{task.name} is not written for jax")
    jax.config.update("jax_enable_x64", True)
    problem = task.problem(seed)
    params = [jnp.asarray(parameter.detach().numpy()) for parameter in problem.parameters()]
    if isinstance(task, ConvexTask):
        return JaxTask(params, _convex_loss(task), problem)
    assert isinstance(task, DeepTask)
    inputs, labels = (jnp.asarray(part.numpy()) for part in task.split[:2])
    logits = LOGITS[task.name]

    def loss(params: Params, rows: Array) -> Array:
        return _cross_entropy(logits(params, inputs[rows]), labels[rows]).mean()

    return JaxTask(params, loss, problem)


def write_back(problem: Problem, params: Params) -> None:
    """Put jax's parameters into the torch module."""
    with torch.no_grad():
        for parameter, value in zip(problem.parameters(), params, strict=True):
            parameter.copy_(torch.from_numpy(np.array(value)))


def _convex_loss(task: ConvexTask) -> Callable[[Params, Array], Array]:
    """The mini-batch objective of ``ConvexTask.loss``."""
    assert isinstance(task.features, torch.Tensor)
    features, targets = jnp.asarray(task.features.numpy()), jnp.asarray(task.targets.numpy())
    row_losses: dict[str, Callable[[Array, Array], Array]] = {
        "logistic": lambda scores, y: -jax.nn.log_sigmoid(y * scores),
        "hinge": lambda scores, y: jnp.maximum(1.0 - y * scores, 0.0),
        "squared": lambda scores, y: 0.5 * (scores - y) ** 2,
        "absolute": lambda scores, y: jnp.abs(scores - y),
        "softmax": _cross_entropy,
    }

    def loss(params: Params, rows: Array) -> Array:
        (w,) = params
        mean = row_losses[task.loss_kind](features[rows] @ w, targets[rows]).mean()
        return mean + 0.5 * task.l2 * jnp.vdot(w, w)

    return loss


def _cross_entropy(logits: Array, labels: Array) -> Array:
    """Loss of every row of logits (rows, classes)."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]


def _perceptron(params: Params, inputs: Array) -> Array:
    """``vision.perceptron``: images (rows, 64) to logits (rows, 10)."""
    hidden = inputs
    for weight, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
        hidden = jax.nn.relu(hidden @ weight.T + bias)
    return hidden @ params[-2].T + params[-1]


def _convolutional(params: Params, inputs: Array) -> Array:
    """``vision.convolutional`` without batch norm: images (rows, 1, 8, 8) to logits (rows, 10)."""
    hidden = inputs
    for weight, bias in ((params[0], params[1]), (params[2], params[3])):
        convolved = lax.conv_general_dilated(hidden, weight, (2, 2), [(1, 1), (1, 1)])
        hidden = jax.nn.relu(convolved + bias[:, None, None])
    return hidden.reshape(len(hidden), -1) @ params[4].T + params[5]


LOGITS: dict[str, Callable[[Params, Array], Array]] = {
    "digits-network": _perceptron,
    "digits-cnn": _convolutional,
}
