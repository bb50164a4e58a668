"""C: value and derivative in float and double."""

from __future__ import annotations

from functools import partial

from nonlin.exporters.source import Lines, argument_names, identifier, prepared
from nonlin.exporters.subject import Subject
from nonlin.expr import derivative

_HELPERS = """\
#ifndef NL_MAX_MIN
#define NL_MAX_MIN
/* a NaN in a or b is passed on */
static inline double nl_max(double a, double b) { return a > b || a != a ? a : b == b ? (a < b ? b : a) : b; }
static inline double nl_min(double a, double b) { return a < b || a != a ? a : b == b ? (a > b ? b : a) : b; }
static inline float nl_maxf(float a, float b) { return a > b || a != a ? a : b == b ? (a < b ? b : a) : b; }
static inline float nl_minf(float a, float b) { return a < b || a != a ? a : b == b ? (a > b ? b : a) : b; }
#endif"""


def write_c(subject: Subject) -> str:
    """The text of a C99 file: nl_NAME and nl_NAMEf, and their derivatives nl_NAME_dx and nl_NAME_dxf."""
    parameters = tuple(subject.numbers("c"))
    names = argument_names(parameters, ("int", "double", "float", "char", "long", "short", "auto", "const", "static"))
    lowered, hides = prepared((subject.expr, derivative(subject.expr)), parameters)
    name = f"nl_{identifier(subject.name)}"
    comment = "\n".join(f" * {line}" for line in subject.description()).replace("*/", "* /")
    parts = [f"/*\n{comment}\n */", "#include <math.h>", _HELPERS]
    for real, suffix in (("double", ""), ("float", "f")):
        for node, hidden, ending in zip(lowered, hides, ("", "_dx"), strict=True):
            lines = Lines("c", names, f"    const {real} {{name}} = {{value}};", partial(_number, suffix=suffix))
            (result,) = lines.add([node])
            result = f"x != x ? x : {result}" if hidden else result
            arguments = ", ".join(f"{real} {argument}" for argument in ("x", *names.values()))
            body = "\n".join([*lines.lines, f"    return {result};"])
            parts.append(f"{real} {name}{ending}{suffix}({arguments}) {{\n{body}\n}}".replace("@(", f"{suffix}("))
    return "\n\n".join(parts) + "\n"


def _number(value: float, suffix: str) -> str:
    if suffix and abs(value) > 3.4028235e38:
        return "HUGE_VALF" if value > 0 else "-HUGE_VALF"
    return f"{value!r}{suffix}"
