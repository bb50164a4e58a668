"""JAX and Keras 3: a file with a function, and for Keras a layer."""

from __future__ import annotations

from nonlin.exporters.source import Lines, argument_names, identifier, prepared
from nonlin.exporters.spelling import Target
from nonlin.exporters.subject import Subject
from nonlin.expr import derivative

_TAKEN = ("jax", "jnp", "ops", "keras", "self", "primals", "tangents")


def _head(subject: Subject, imports: str) -> str:
    lines = "\n".join(subject.description()).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{lines}\n"""\n\n{imports}'


def _body(target: Target, subject: Subject, by: str | None, names: dict[str, str], array: str) -> list[str]:
    """The lines of the value, or of the derivative by one input."""
    tree = subject.expr if by is None else derivative(subject.expr, by)
    (lowered,), (hidden,) = prepared((tree,), tuple(names))
    lines = Lines(target, names, "    {name} = {value}", repr)
    (result,) = lines.add([lowered])
    if "x" not in lowered.symbols:
        result = f"{result} + {array}.zeros_like(x)"
    return [*lines.lines, f"    return {f'{array}.where(x != x, x, {result})' if hidden else result}"]


def write_jax(subject: Subject) -> str:
    """A function of x and the parameters with its exact derivatives, as a custom rule of JAX."""
    values = subject.numbers("jax")
    names = argument_names(tuple(values), _TAKEN)
    name = identifier(subject.name)
    name = f"{name}_" if name in (*_TAKEN, "x", *names.values()) else name
    arguments = ", ".join(["x", *names.values()])
    blocks = [_head(subject, "import jax\nimport jax.numpy as jnp")]
    defaults = ", ".join(["x", *(f"{names[key]}={value!r}" for key, value in values.items())])
    for label, by in (("value", None), *((f"by_{code}", key) for key, code in {"x": "x", **names}.items())):
        decorator = "@jax.custom_jvp\n" if by is None else ""
        body = "\n".join(_body("jax", subject, by, names, "jnp"))
        blocks.append(f"{decorator}def _{label}({arguments}):\n{body}")
    rules = ",\n".join(
        f"    lambda tangent, _, {arguments}: tangent * _by_{code}({arguments})" for code in ("x", *names.values())
    )
    blocks.append(f"_value.defjvps(\n{rules},\n)")
    cast = [f"    {code} = jnp.asarray({code}, x.dtype)" for code in names.values()]
    blocks.append(
        "\n".join(
            [
                f"def {name}({defaults}):",
                '    """f(x) of an array of any shape; the parameters broadcast against it."""',
                "    x = jnp.asarray(x)",
                "    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)",
                *cast,
                f"    return _value({arguments})",
            ]
        )
    )
    return "\n\n\n".join(blocks) + "\n"


def write_keras(subject: Subject) -> str:
    """A function of keras.ops, which runs on every backend, and a layer with trainable weights."""
    values = subject.numbers("keras")
    names = argument_names(tuple(values), _TAKEN)
    name, layer = identifier(subject.name), identifier(subject.name, capital=True)
    name = f"{name}_" if name in (*_TAKEN, "x", *names.values()) else name
    defaults = ", ".join(["x", *(f"{names[key]}={value!r}" for key, value in values.items())])
    body = _body("keras", subject, None, names, "ops")
    function = "\n".join(
        [
            f"def {name}({defaults}):",
            '    """f(x) of a tensor of any shape."""',
            "    x = ops.convert_to_tensor(x)",
            *(f"    {code} = ops.cast({code}, x.dtype)" for code in names.values()),
            *body,
        ]
    )
    initial = "{" + ", ".join(f"{code!r}: {values[key]!r}" for key, code in names.items()) + "}"
    weights = "".join(f", self.numbers[{code!r}]" for code in names.values())
    made = f"""\
@keras.saving.register_keras_serializable("nonlin")
class {layer}(keras.layers.Layer):
    \"\"\"f(x) as a layer; `initial` holds the trainable parameters' first values.\"\"\"

    def __init__(self, initial=None, **keywords):
        super().__init__(**keywords)
        self.initial = {{**{initial}, **(initial or {{}})}}
        self.numbers = {{}}

    def build(self, input_shape):
        self.numbers = {{
            name: self.add_weight(shape=(), initializer=keras.initializers.Constant(value), name=name)
            for name, value in self.initial.items()
        }}
        self.built = True

    def call(self, x):
        return {name}(x{weights})

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {{**super().get_config(), "initial": dict(self.initial)}}"""
    return "\n\n\n".join([_head(subject, "import keras\nfrom keras import ops"), function, made]) + "\n"
