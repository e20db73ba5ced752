r"""Stochastic gradient descent in the depth metric: a layer trains as if it were N of them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from dlngeo.core.base.checks import flag, nonnegative, positive
from dlngeo.core.depth_metric.metric import raise_index
from dlngeo.core.networks.factors import check_depth, is_infinite


class DepthSGD(torch.optim.Optimizer):
    r"""Train every matrix of a network as if it were a product of N balanced layers.

    The end-to-end update of Arora, Cohen and Hazan,

    .. math:: V \leftarrow m V + A_{N,W}(∇) + N η W, \quad W \leftarrow W - γ V, \quad
              A_{N,W}(∇) = \sum_{p=1}^{N} (WW^T)^{(N-p)/N} ∇ (W^TW)^{(p-1)/N},

    is what gradient descent with step ``γ``, momentum ``m`` and weight decay ``η`` on the factors
    of ``W = W_N ... W_1`` does to their product, if these are balanced, to first order in ``γ``: a
    deeper layer at the cost of one singular value decomposition, and without its parameters.
    Directions in which ``W`` is large are learned faster, small ones hardly move.

    Matrices are what has two axes or more: the kernel of a convolution is the matrix of its first
    axis by all others. Biases and other vectors take steps of ordinary descent, as everything does
    in a group of depth one, which is `torch.optim.SGD`. Groups may have depths of their own.

    Parameters
    ----------
    params : iterable of tensors, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
        Step ``γ``. Gradients of depth ``N`` are those of depth one times up to ``N σ_1^{2-2/N}``:
        matrices of norm one want a step about ``N`` times smaller.
    depth : int or inf
        ``N``. At infinite depth, for square matrices only, time is scaled by ``N``: the step is
        ``A_∞ = lim A_N / N``, the decay ``ηW``.
    momentum : float
        ``m``, of heavy balls.
    weight_decay : float
        ``η``, of each of the N layers.
    nesterov : bool
        Whether the step is along ``A_{N,W}(∇) + N η W + m V`` instead.

    Raises
    ------
    ValueError
        If an option does not fit, or a matrix is zero: it would stay so at every depth but one.
    FloatingPointError
        In a step, if parameter or gradient are not finite, or the step is out of range.

    Notes
    -----
    Half precision is decomposed in single. What a small singular value stands for is learned
    slowly, so starts should not be small: those of PyTorch's layers serve.

    References
    ----------
    [ACH18]; THEORY 3.

    Examples
    --------
    >>> import torch
    >>> from dlngeo.torch import DepthSGD
    >>> layer = torch.nn.Linear(4, 3)
    >>> optimizer = DepthSGD(layer.parameters(), lr=0.1, depth=3)
    >>> layer(torch.ones(1, 4)).square().sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        depth: float = 3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        defaults = {
            "lr": lr,
            "depth": depth,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; errors as of the optimiser."""
        super().add_param_group(param_group)
        try:
            _check_group(self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step, and return what the closure returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        gradient, decay = parameter.grad, group["weight_decay"]
        assert gradient is not None
        if parameter.ndim >= 2 and group["depth"] != 1:
            gradient = _raised(parameter, gradient, group["depth"])
            decay *= 1 if is_infinite(group["depth"]) else group["depth"]
        direction = gradient.add(parameter, alpha=decay) if decay else gradient
        if momentum := group["momentum"]:
            state = self.state[parameter]
            if "momentum_buffer" in state:
                velocity = state["momentum_buffer"].mul_(momentum).add_(direction)
            else:
                velocity = state["momentum_buffer"] = direction.clone()
            direction = direction.add(velocity, alpha=momentum) if group["nesterov"] else velocity
        parameter.add_(direction, alpha=-group["lr"])


def _check_group(group: dict[str, Any]) -> None:
    positive(group["lr"], "lr")
    nonnegative(group["momentum"], "momentum")
    nonnegative(group["weight_decay"], "weight_decay")
    if flag(group["nesterov"], "nesterov") and not group["momentum"]:
        raise ValueError("nesterov=True is about a momentum: give momentum= too.")
    depth = group["depth"]
    if not is_infinite(depth):
        check_depth(depth)
    for parameter in group["params"]:
        if not parameter.is_floating_point():
            raise ValueError(f"expected parameters of real numbers, got {parameter.dtype}.")
        if parameter.ndim < 2 or depth == 1:
            continue
        shape = tuple(parameter.shape)
        rows, columns = parameter.flatten(1).shape
        if is_infinite(depth) and rows != columns:
            raise ValueError(
                f"infinite depth is for square matrices, got one of shape {shape}: put it into a "
                "group of finite depth."
            )
        if not parameter.any():
            raise ValueError(
                f"a matrix of shape {shape} is zero, where a network of depth {depth} has no "
                "gradient: initialise it, or put it into a group of depth 1."
            )


def _raised(parameter: torch.Tensor, gradient: torch.Tensor, depth: float) -> torch.Tensor:
    """Return ``A_{N,W}(∇)``, in the shape and precision of the parameter."""
    if gradient.is_sparse:
        raise ValueError(
            "sparse gradients have no singular vectors: use sparse=False, or a group of depth 1."
        )
    matrix, covector = parameter.flatten(1), gradient.flatten(1)
    for name, tensor in (("parameter", matrix), ("gradient", covector)):
        if not tensor.isfinite().all():
            raise FloatingPointError(
                f"a {name} of shape {tuple(parameter.shape)} is not finite: use a smaller step "
                "(depth N multiplies gradients by up to N σ^{2-2/N}), or clip gradients."
            )
    precision = torch.promote_types(matrix.dtype, torch.float32)
    try:
        raised = raise_index(matrix.to(precision), covector.to(precision), depth)
    except ValueError as error:
        raise FloatingPointError(
            f"the step of a parameter of shape {tuple(parameter.shape)} cannot be taken ({error}): "
            "use a smaller step, or a lower depth."
        ) from error
    return raised.reshape(parameter.shape).to(parameter.dtype)
