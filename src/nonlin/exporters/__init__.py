"""A function in other languages: standalone torch, LaTeX, C, JAX, Keras 3, ONNX.

export ──► subject ──► torch_source                    the operator table's own torch column
              │    ──► c_source, array_source  ◄── source (lines of code)  ◄─┐
              │    ──► onnx_model  ◄─────────────────────────────────────────┤
              │    ──► LaTeX                                                 │
                                    spelling: one row per operator, one column per target
"""

from nonlin.exporters.write import TARGETS, export

__all__ = ["TARGETS", "export"]
