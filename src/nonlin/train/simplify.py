"""A recording made shorter: what only renames a value goes, and the backward pass of the loss becomes one operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

_SAME = ("aten.detach.default", "aten.alias.default")


def decision_gradient(gradient: Tensor, logarithms: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """The gradient by the logits of what `nll_loss` gives for their log-softmax (rows, classes): one child's."""
    counts = (targets != ignored).to(logarithms.dtype).unsqueeze(-1)
    chosen = torch.zeros_like(logarithms).scatter_(1, targets.clamp(min=0).unsqueeze(-1), 1.0)
    return gradient * (logarithms.exp() - chosen) * (counts / counts.sum())


def simplify(graph: fx.Graph) -> None:
    """Changes the graph in place."""
    for node in list(graph.nodes):
        if str(node.target) in _SAME:
            _replace(node, node.args[0])
        elif str(node.target) == "aten.t.default" and _is_transpose(node.args[0]):
            _replace(node, node.args[0].args[0])
    for node in list(graph.nodes):
        if str(node.target) == "aten._log_softmax_backward_data.default":
            _join(graph, node)
    graph.eliminate_dead_code(is_impure_node=is_impure)


def is_impure(node: fx.Node) -> bool:
    """Whether a node counts even if nothing uses its value: it writes to a buffer, or draws random numbers."""
    target: Any = node.target
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    return (
        "copy_" in str(target) or "batch_norm" in str(target)
        or torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
    )  # fmt: skip


def _is_transpose(node: Any) -> bool:
    return isinstance(node, fx.Node) and str(node.target) == "aten.t.default"


def _replace(node: fx.Node, other: Any) -> None:
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def _join(graph: fx.Graph, node: fx.Node) -> None:
    """nll_loss_backward and then log_softmax's, of the same logarithms: one operation."""
    inner, logarithms, dim, _ = node.args
    if not isinstance(inner, fx.Node) or str(inner.target) != "aten.nll_loss_backward.default" or len(inner.users) > 1:
        return
    gradient, same, targets, weight, reduction, ignored, _ = inner.args
    if (
        same is not logarithms
        or weight is not None
        or reduction != 1
        or node.meta["val"].dim() != 2
        or dim not in (1, -1)
    ):
        return
    with graph.inserting_before(node):
        joined = graph.call_function(decision_gradient, (gradient, logarithms, targets, ignored))
    joined.meta["val"] = node.meta["val"]
    _replace(node, joined)
