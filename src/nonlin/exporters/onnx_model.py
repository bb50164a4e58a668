"""ONNX: a model of one input in float32, every dimension of which is free.

The standard asks for the number of dimensions of a model's inputs, though not for their sizes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nonlin.errors import MissingExtraError
from nonlin.exporters.source import identifier, prepared
from nonlin.exporters.spelling import SPELLINGS, expand
from nonlin.exporters.subject import Subject
from nonlin.expr import Call, Const, Expr, Symbol
from nonlin.expr.lowering import fold_numbers

OPSET, IR_VERSION = 17, 8  # of 2022: read by every runtime in use


def build_onnx(subject: Subject, rank: int = 2) -> Any:
    """An `onnx.ModelProto` with input "x", output "y" (`rank` free dimensions) and one initializer per parameter."""
    try:
        onnx: Any = import_module("onnx")
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "Exporting to ONNX") from None
    helper, TensorProto = onnx.helper, onnx.TensorProto
    values = subject.numbers("onnx")
    (lowered,), (hidden,) = prepared((subject.expr,), tuple(values))
    graph = _Graph(helper, TensorProto, values)
    result = graph.node(fold_numbers(expand(fold_numbers(lowered), "onnx")))
    if "x" not in lowered.symbols:
        zeros = graph.emit("ConstantOfShape", graph.emit("Shape", "x"))
        result = graph.emit("Add", zeros, result)
    if hidden:
        result = graph.emit("Where", graph.emit("IsNaN", "x"), "x", result)
    graph.nodes.append(helper.make_node("Identity", [result], ["y"]))
    sizes = [f"size_{axis}" for axis in range(rank)]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, identifier(subject.name),
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="nonlin",
        doc_string="\n".join(subject.description()),
    )  # fmt: skip
    onnx.checker.check_model(model)
    return model


class _Graph:
    """Nodes and numbers of an ONNX graph; equal parts are computed once."""

    def __init__(self, helper: Any, types: Any, values: dict[str, float]):
        self.helper, self.types = helper, types
        self.nodes: list[Any] = []
        self.initializers = [helper.make_tensor(f"parameter_{k}", types.FLOAT, [], [v]) for k, v in values.items()]
        self._known: dict[Expr, str] = {}

    def node(self, node: Expr) -> str:
        """The name of the value of an expression."""
        if node not in self._known:
            self._known[node] = self._make(node)
        return self._known[node]

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node of the graph; returns the name of its output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def _make(self, node: Expr) -> str:
        if isinstance(node, Symbol):
            return "x" if node.name == "x" else f"parameter_{node.name}"
        if isinstance(node, Const):
            name = f"number_{len(self.initializers)}"
            self.initializers.append(self.helper.make_tensor(name, self.types.FLOAT, [], [node.value]))
            return name
        assert isinstance(node, Call)
        inputs = [self.node(arg) for arg in node.args]
        operator = SPELLINGS[node.name].onnx
        if node.name == "where":
            inputs[0] = self.emit("Cast", inputs[0], to=self.types.BOOL)
        result = self.emit(operator, *inputs)
        return self.emit("Cast", result, to=self.types.FLOAT) if node.operator.boolean else result
