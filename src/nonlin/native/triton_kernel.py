"""One Triton kernel that performs programs: K children, each with a program of its own as data, in one launch.

Instances of the kernel are (tile, child). Each holds its tile's registers as R tensors and walks through its child's
instructions: all lanes perform the same one, so that the choice among them costs a few scalar branches. Registers
are picked by comparisons with R numbers, since a tensor of Triton cannot be addressed; so R is 8, 16 or 32 as the
programs need. Parameters and constants take no registers.

A row of instructions is six int32: opcode, destination, three operands, immediate. Destinations and operands from 0
on are registers: 0 is x, then the outputs. An operand -1 - j is the child's number j: its parameters, then its
constants.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nonlin.native import triton_functions as functions

# Their numbers are their places here. Names and meaning: core/opcodes.def, `program.emitted_opcodes`.
OPCODES = (
    "copy pass_nan add sub mul mul0 div neg square power power_whole lt le gt ge where max min heaviside relu abs sign "
    "floor exp expm1 log log1p sqrt decay sigmoid sigmoid_neg softplus sech tanh sin cos tan asin acos atan "
    "spherical_j sinc sinh cosh asinh acosh atanh erf erfc gaussian Phi phi"
).split()
ROW: tl.constexpr = tl.constexpr(6)
INVERSE_ROOT_2PI: tl.constexpr = tl.constexpr(0.3989422804014327)


@triton.jit
def cheap(op, a, b, c):
    """Opcodes up to 22: no elementary function."""
    r = a
    if op < 8:
        if op == 1:  # pass_nan
            r = tl.where(a == a, b, a)
        elif op == 2:  # add
            r = a + b
        elif op == 3:  # sub
            r = a - b
        elif op == 4:  # mul
            r = a * b
        elif op == 5:  # mul0
            product = a * b
            r = tl.where((product != product) & (a == a) & (b == b), 0.0, product)
        elif op == 6:  # div
            r = tl.div_rn(a, b)
        elif op == 7:  # neg
            r = -a
    elif op < 16:
        if op == 8:  # square
            r = a * a
        elif op == 11:  # lt
            r = tl.where(a < b, 1.0, 0.0)
        elif op == 12:  # le
            r = tl.where(a <= b, 1.0, 0.0)
        elif op == 13:  # gt
            r = tl.where(a > b, 1.0, 0.0)
        elif op == 14:  # ge
            r = tl.where(a >= b, 1.0, 0.0)
        elif op == 15:  # where
            r = tl.where(a != 0.0, b, c)
    else:
        if op == 16:  # max: NaN wins
            r = tl.where(a == a, tl.where(a > b, a, b), a)
        elif op == 17:  # min
            r = tl.where(a == a, tl.where(a < b, a, b), a)
        elif op == 18:  # heaviside
            r = tl.where(a > 0.0, 1.0, 0.0) + b * tl.where(a == 0.0, 1.0, 0.0)
        elif op == 19:  # relu
            r = tl.where(a < 0.0, 0.0, a)
        elif op == 20:  # abs
            r = tl.abs(a)
        elif op == 21:  # sign
            r = tl.where(a > 0.0, 1.0, 0.0) - tl.where(a < 0.0, 1.0, 0.0)
        elif op == 22:  # floor
            r = tl.floor(a)
    return r


@triton.jit
def usual(op, a, b):
    """Opcodes 23 to 33: exponentials and logarithms."""
    r = a
    if op < 28:
        if op == 23:  # exp
            r = functions.exponential(a, 0)
        elif op == 24:  # expm1
            r = functions.exponential_m1(a)
        elif op == 25:  # log
            r = tl.log(a)
        elif op == 26:  # log1p
            r = functions.logarithm_1p(a)
        elif op == 27:  # sqrt
            r = tl.sqrt_rn(a)
    elif op < 31:
        if op == 28:  # decay
            r = functions.exponential_below(-tl.abs(a), 0.0)
        elif op == 29:  # sigmoid
            r = tl.where(a < 0.0, b, 1.0) / (1.0 + b)
        elif op == 30:  # sigmoid_neg
            r = tl.where(a < 0.0, 1.0, b) / (1.0 + b)
    else:
        if op == 31:  # softplus
            r = tl.where(a < 0.0, 0.0, a) + functions.logarithm_1p(b)
        elif op == 32:  # sech, from decay
            r = (a + a) / (1.0 + a * a)
        elif op == 33:  # tanh
            r = functions.hyperbolic_tangent(a, b)
    return r


@triton.jit
def rare(op, a, b, immediate):
    """Opcodes 34 to 51, and the powers."""
    r = a
    if op < 40:
        if op == 9:  # power
            r = functions.power(a, b)
        elif op == 10:  # power_whole
            r = functions.power_whole(a, immediate)
        elif op == 34:  # sin
            r = tl.sin(a)
        elif op == 35:  # cos
            r = tl.cos(a)
        elif op == 36:  # tan
            r = functions.tangent(a)
        elif op == 37:  # asin
            r = functions.arc_sine(a)
        elif op == 38:  # acos
            r = functions.arc_cosine(a)
        elif op == 39:  # atan
            r = functions.arc_tangent(a)
    elif op < 47:
        if op == 40:  # spherical_j
            r = functions.spherical_bessel(a, immediate)
        elif op == 41:  # sinc
            r = functions.sine_quotient(a)
        elif op == 42:  # sinh
            r = functions.hyperbolic_sine(a)
        elif op == 43:  # cosh
            r = functions.hyperbolic_cosine(a)
        elif op == 44:  # asinh
            r = functions.inverse_hyperbolic_sine(a)
        elif op == 45:  # acosh
            r = functions.inverse_hyperbolic_cosine(a)
        elif op == 46:  # atanh
            r = functions.inverse_hyperbolic_tangent(a)
    else:
        if op == 47:  # erf
            r = functions.error_function(a)
        elif op == 48:  # erfc
            r = functions.complementary_error_function(a)
        elif op == 49:  # gaussian
            r = functions.bell(a)
        elif op == 50:  # Phi
            r = functions.normal_cdf(a, b)
        elif op == 51:  # phi, from gaussian
            r = a * INVERSE_ROOT_2PI
    return r


@triton.jit
def read(registers, index, values_ptr, constants_ptr, parameters, width, R: tl.constexpr):
    """Operand `index`: a register, a parameter of each channel, or a constant."""
    value = registers[0]
    if index > 0:
        for k in tl.static_range(1, R):
            value = tl.where(index == k, registers[k], value)
    elif index < 0:
        number = -1 - index
        if number < parameters:
            value = tl.broadcast_to(tl.load(values_ptr + number * width).to(tl.float32), value.shape)
        else:
            value = tl.broadcast_to(tl.load(constants_ptr + number - parameters), value.shape)
    return value


@triton.jit
def perform(x, code_ptr, length, values_ptr, constants_ptr, parameters, width, R: tl.constexpr):
    """The registers after a program's last instruction. values_ptr : the first parameter of each row of x."""
    registers = (x,) * R
    for _ in range(length):
        op = tl.load(code_ptr)
        target = tl.load(code_ptr + 1)
        a = read(registers, tl.load(code_ptr + 2), values_ptr, constants_ptr, parameters, width, R)
        b = read(registers, tl.load(code_ptr + 3), values_ptr, constants_ptr, parameters, width, R)
        c = read(registers, tl.load(code_ptr + 4), values_ptr, constants_ptr, parameters, width, R)
        if (op < 23) & (op != 9) & (op != 10):
            r = cheap(op, a, b, c)
        elif (op >= 23) & (op < 34):
            r = usual(op, a, b)
        else:
            r = rare(op, a, b, tl.load(code_ptr + 5))
        written = ()  # Triton knows neither comprehensions over numbers nor stars
        for k in tl.static_range(R):
            written = written + (tl.where(target == k, r, registers[k]),)  # type: ignore[assignment] # noqa: RUF005
        registers = written
        code_ptr += ROW
    return registers


@triton.jit
def plus(a, b):
    return a + b


@triton.jit
def activate(
    x_ptr, out_ptr, gradient_ptr, sums_ptr, code_ptr, children_ptr, constants_ptr, values_ptr, count, length, channels,
    inner, most, column_tiles, CHANNELS: tl.constexpr, ELEMENTS: tl.constexpr, PARAMETERS: tl.constexpr,
    R: tl.constexpr, PER_CHANNEL: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Values, or gradients by x with each tile's sums of those by the parameters.

    x, out, gradient : (K, count), count being `channels` times `length`, the elements of a channel (all of a child's
        where PER_CHANNEL is not set); these stand in stretches of `inner`
    sums : (K, PARAMETERS, tiles, channels) float32
    children : (K, 4) int32: the first row of its code, how many, its first constant, how many parameters it has
    values : (K, most, channels); a tile is CHANNELS x ELEMENTS
    """
    tile = tl.program_id(0)
    child = tl.program_id(1)
    children_ptr += 4 * child
    start = tl.load(children_ptr)
    instructions = tl.load(children_ptr + 1)
    constants_ptr += tl.load(children_ptr + 2)
    parameters = tl.load(children_ptr + 3)
    offset = child.to(tl.int64) * count
    rows = tl.arange(0, CHANNELS)[:, None]
    columns = tl.arange(0, ELEMENTS)[None, :]
    values_ptr += child.to(tl.int64) * most * channels
    if PER_CHANNEL:
        channel = tile // column_tiles * CHANNELS + rows
        column_tile = tile % column_tiles
        element = column_tile * ELEMENTS + columns
        mask = (channel < channels) & (element < length)
        place = (element // inner * channels + channel) * inner + element % inner
        value_places = values_ptr + tl.where(channel < channels, channel, 0)
    else:
        column_tile = tile
        offset += tile.to(tl.int64) * ELEMENTS  # a tensor may have more than 2^31 elements
        place = rows + columns
        mask = (rows == 0) & (columns < length - tile.to(tl.int64) * ELEMENTS)
        value_places = values_ptr + rows * 0
        channel = rows * 0
    x = tl.load(x_ptr + offset + place, mask=mask, other=0.0).to(tl.float32)
    registers = perform(
        x, code_ptr + start * ROW, instructions, value_places, constants_ptr, parameters, channels, R
    )  # fmt: skip
    if BACKWARD:
        gradient = tl.load(gradient_ptr + offset + place, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_ptr + offset + place, gradient * registers[1], mask=mask)
        for p in tl.static_range(PARAMETERS):
            product = tl.where(mask & (p < parameters), gradient * registers[2 + p], 0.0)
            part = tl.reduce(product, 1, plus, keep_dims=True)
            row = (child.to(tl.int64) * PARAMETERS + p) * column_tiles + column_tile
            tl.store(sums_ptr + row * channels + channel, part, mask=channel < channels)
    else:
        tl.store(out_ptr + offset + place, registers[1], mask=mask)
