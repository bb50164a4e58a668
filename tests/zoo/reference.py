"""What the activations are, in mpmath, written from their published definitions.

Nothing here is taken from nonlin: a wrong sign in the catalogue, in the operator table, in a rewrite
rule or in the code generator shows as a difference. `REFERENCE` maps a name to a function of x and of
the parameters and constants by name. `KINKS` lists, for functions that have them, the points without
a derivative (or with a jump). `LOOSE` and `LOOSE_PARAMETERS` name the derivatives that are less
accurate than the others', with the reason.
"""

from mpmath import mp, mpf

HALF, THIRD = mpf(1) / 2, mpf(1) / 3


def sigmoid(x):
    return 1 / (1 + mp.exp(-x)) if x > 0 else mp.exp(x) / (1 + mp.exp(x))


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def relu(x):
    return x if x > 0 else x * 0


def clip(x, low, high):
    return mpf(low) if x < low else mpf(high) if x > high else x


def cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def gelu(x):
    return x * cdf(x)


def elu(x):
    return x if x > 0 else mp.expm1(x)


def cauchy_cdf(x):
    # atan(x)/pi + 1/2 cancels on the left, where it is atan(-1/x)/pi
    return mp.atan(-1 / x) / mp.pi if x < -1 else mp.atan(x) / mp.pi + HALF


def sinc(x):
    return mpf(1) if x == 0 else mp.sin(x) / x


def soft_exponential(x, a):
    if a > 0:
        return mp.expm1(a * x) / a + a
    return x if a == 0 else -mp.log(1 - a * (x + a)) / a


def srelu(x, t_l, a_l, t_r, a_r):
    if x >= t_r:
        return t_r + a_r * (x - t_r)
    return t_l + a_l * (x - t_l) if x <= t_l else x


def pdelu(x, a, t):
    return x if x > 0 else a * (max(1 + (1 - t) * x, mpf(0)) ** (1 / (1 - t)) - 1)


def uaf(x, a, b, c, d, e):
    return softplus(a * (x + b) + c * x**2) - softplus(d * (x - b)) + e


def pau(x, a0, a1, a2, a3, a4, a5, b1, b2, b3, b4):
    above = sum(a * x**power for power, a in enumerate((a0, a1, a2, a3, a4, a5)))
    below = 1 + sum(abs(b) * abs(x) ** power for power, b in enumerate((b1, b2, b3, b4), start=1))
    return above / below


def eis(x, alpha, beta, gamma, delta, theta):
    return x * softplus(x) ** alpha / (mp.sqrt(beta + gamma * x**2) + delta * mp.exp(-theta * x))


def sau(x, alpha, n):
    s = 1 / n
    bump = (1 - alpha) * s / mp.sqrt(2 * mp.pi) * mp.exp(-(x**2) / (2 * s**2))
    return bump + (1 + alpha) / 2 * x + (1 - alpha) / 2 * x * mp.erf(x / (mp.sqrt(2) * s))


def staf(x, b1, w1, p1, b2, w2, p2, b3, w3, p3):
    return b1 * mp.sin(w1 * x + p1) + b2 * mp.sin(w2 * x + p2) + b3 * mp.sin(w3 * x + p3)


REFERENCE = {
    # bounded
    "linear": lambda x: x,
    "step": lambda x: mpf(1) if x >= 0 else mpf(0),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "tanh": lambda x: mp.tanh(x),
    "lecun_tanh": lambda x: mpf("1.7159") * mp.tanh(2 * x / 3),
    "hard_sigmoid": lambda x: clip((x + 3) / 6, 0, 1),
    "hard_sigmoid_keras": lambda x: clip(x / 5 + HALF, 0, 1),
    "hard_tanh": lambda x: clip(x, -1, 1),
    "softsign": lambda x: x / (1 + abs(x)),
    "isru": lambda x, alpha: x / mp.sqrt(1 + alpha * x**2),
    "sqnl": lambda x: (1 if x > 0 else -1) * mpf(1) if abs(x) > 2 else x - x**2 / 4 if x > 0 else x + x**2 / 4,
    "penalized_tanh": lambda x, a: mp.tanh(x) if x > 0 else a * mp.tanh(x),
    "elliott": lambda x: HALF * x / (1 + abs(x)) + HALF,
    "aria2": lambda x, alpha, beta: x * (1 + mp.exp(-beta * x)) ** -alpha,
    "aria2_gate": lambda x, alpha, beta: (1 + mp.exp(-beta * x)) ** -alpha,
    "soft_clipping": lambda x, alpha: (softplus(alpha * x) - softplus(alpha * (x - 1))) / alpha,
    "loglog": lambda x: mp.exp(-mp.exp(-x)),
    "cloglog": lambda x: -mp.expm1(-mp.exp(x)),
    "probit": lambda x: mp.ncdf(x),
    "erf": lambda x: mp.erf(x),
    "arctan": lambda x: mp.atan(x),
    "gaussian": lambda x: mp.exp(-(x**2)),
    "sqlu": lambda x: x if x > 0 else x + x**2 / 4 if x >= -2 else mpf(-1),
    # piecewise linear
    "relu": relu,
    "relu6": lambda x: clip(x, 0, 6),
    "leaky_relu": lambda x, alpha: x if x > 0 else alpha * x,
    "prelu": lambda x, a: x if x > 0 else a * x,
    "rrelu": lambda x, lower, upper: x if x > 0 else x * (lower + upper) / 2,
    "srelu": srelu,
    "apl": lambda x, a1, b1, a2, b2: relu(x) + a1 * relu(-x + b1) + a2 * relu(-x + b2),
    "flexrelu": lambda x, b: relu(x) + b,
    "sine_relu": lambda x, epsilon: x if x > 0 else epsilon * (mp.sin(x) - mp.cos(x)),
    "nlrelu": lambda x, beta: mp.log(1 + beta * relu(x)),
    "relu2": lambda x: relu(x) ** 2,
    "repu": lambda x, p: relu(x) ** p,
    "star_relu": lambda x, s, b: s * relu(x) ** 2 + b,
    "poly_relu": lambda x, a0, a1, a2, a3: a0 + a1 * relu(x) + a2 * relu(x) ** 2 + a3 * relu(x) ** 3,
    "smelu": lambda x, beta: x if x >= beta else mpf(0) if x <= -beta else (x + beta) ** 2 / (4 * beta),
    "thresholded_relu": lambda x, theta: x if x > theta else mpf(0),
    "hard_shrink": lambda x, lam: x if x > lam or x < -lam else mpf(0),
    "soft_shrink": lambda x, lam: mp.sign(x) * relu(abs(x) - lam),
    "tanh_shrink": lambda x: x - mp.tanh(x),
    # exponential
    "elu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
    "celu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x / alpha),
    "selu": lambda x, lam, alpha: lam * (x if x > 0 else alpha * mp.expm1(x)),
    "serlu": lambda x, lam, alpha: lam * (x if x > 0 else alpha * x * mp.exp(x)),
    "pelu": lambda x, a, b: a / b * x if x > 0 else a * mp.expm1(x / b),
    "mpelu": lambda x, a, b: x if x > 0 else a * mp.expm1(b * x),
    "pdelu": pdelu,
    "polu": lambda x, n: x if x > 0 else (1 - x) ** -n - 1,
    "reu": lambda x: x if x > 0 else x * mp.exp(x),
    "ptelu": lambda x, a, b: x if x > 0 else a * mp.tanh(b * x),
    "erf_relu": lambda x, a: x if x > 0 else a * mp.erf(x),
    "soft_exponential": soft_exponential,
    "isrlu": lambda x, alpha: x if x > 0 else x / mp.sqrt(1 + alpha * x**2),
    "nelu": lambda x, alpha: x if x > 0 else -alpha / (1 + x**2),
    "xielu": lambda x, a_p, a_n: (
        softplus(a_p) * x**2 + x / 2 if x > 0 else (HALF + softplus(a_n)) * (mp.expm1(x) - x) + x / 2
    ),
    # softplus
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "logsigmoid": lambda x: mp.log(1 / (1 + mp.exp(-x))),
    "squareplus": lambda x, b: (x + mp.sqrt(x**2 + b)) / 2,
    "bent_identity": lambda x: (mp.sqrt(x**2 + 1) - 1) / 2 + x,
    "srs": lambda x, alpha, beta: x / (x / alpha + mp.exp(-x / beta)),
    "soft_log": lambda x: mp.sign(x) * mp.log(1 + abs(x)),
    # self-gated
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "dsilu": lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    "swish": lambda x, beta: x * sigmoid(beta * x),
    "gelu": gelu,
    "gelu_tanh": lambda x: HALF * x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3))),
    "quick_gelu": lambda x: x * sigmoid(mpf("1.702") * x),
    "hard_swish": lambda x: x * clip(x + 3, 0, 6) / 6,
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "e_swish": lambda x, beta: beta * x * sigmoid(x),
    "elish": lambda x: x * sigmoid(x) if x >= 0 else mp.expm1(x) * sigmoid(x),
    "hard_elish": lambda x: (x if x >= 0 else mp.expm1(x)) * clip((x + 1) / 2, 0, 1),
    "fts": lambda x, t: relu(x) * sigmoid(x) + t,
    "lisht": lambda x: x * mp.tanh(x),
    "tanhexp": lambda x: x * mp.tanh(mp.exp(x)),
    "serf": lambda x: x * mp.erf(softplus(x)),
    "pserf": lambda x, gamma, delta: x * mp.erf(gamma * softplus(delta * x)),
    "erfact": lambda x, a, b: x * mp.erf(a * mp.exp(b * x)),
    "logish": lambda x: x * mp.log(1 + sigmoid(x)),
    "smish": lambda x, a, b: a * x * mp.tanh(mp.log(1 + sigmoid(b * x))),
    "gish": lambda x: x * mp.log(2 - mp.exp(-mp.exp(x))),
    "phish": lambda x: x * mp.tanh(gelu(x)),
    "golu": lambda x: x * mp.exp(-mp.exp(-x)),
    "calu": lambda x: x * cauchy_cdf(x),
    "sinsig": lambda x: x * mp.sin(mp.pi * sigmoid(x) / 2),
    "colu": lambda x: x / (1 - x * mp.exp(-(x + mp.exp(x)))),
    "pflu": lambda x: HALF * x * (1 + x / mp.sqrt(1 + x**2)),
    "sinlu": lambda x, a, b: (x + a * mp.sin(b * x)) * sigmoid(x),
    "tanhsoft1": lambda x, a: mp.tanh(a * x) * softplus(x),
    "tanhsoft2": lambda x, b, c: x * mp.tanh(b * mp.exp(c * x)),
    "tanhsoft3": lambda x, a: mp.log(1 + mp.exp(x) * mp.tanh(a * x)),
    "eis1": lambda x, delta, theta: x * softplus(x) / (x + delta * mp.exp(-theta * x)),
    "eis2": lambda x, beta, gamma: x * softplus(x) / mp.sqrt(beta + gamma * x**2),
    "eis": eis,
    "aptx": lambda x, alpha, beta, gamma: (alpha + mp.tanh(beta * x)) * gamma * x,
    "swish_t": lambda x, beta, alpha: x * sigmoid(beta * x) + alpha * mp.tanh(x),
    "swish_t_a": lambda x, alpha: sigmoid(x) * (x + 2 * alpha) - alpha,
    "swish_t_b": lambda x, beta, alpha: sigmoid(beta * x) * (x + 2 * alpha) - alpha,
    "swish_t_c": lambda x, beta, alpha: sigmoid(beta * x) * (x + 2 * alpha / beta) - alpha / beta,
    "acon_c": lambda x, p1, p2, beta: (p1 - p2) * x * sigmoid(beta * (p1 - p2) * x) + p2 * x,
    "smu": lambda x, mu, alpha: ((1 + alpha) * x + (1 - alpha) * x * mp.erf(mu * (1 - alpha) * x)) / 2,
    "smu1": lambda x, mu, alpha: ((1 + alpha) * x + mp.sqrt(((1 - alpha) * x) ** 2 + mu**2)) / 2,
    "sau": sau,
    "aglu": lambda x, lam, kappa: x * (lam * mp.exp(-kappa * x) + 1) ** (-1 / lam),
    "uaf": uaf,
    "pau": pau,
    "crrelu": lambda x, epsilon: relu(x) + epsilon * x * mp.exp(-(x**2) / 2),
    "bsilu": lambda x, alpha: (x + alpha) * sigmoid(x) - alpha / 2,
    "ulu": lambda x, alpha, beta: HALF * x * (1 + mp.tanh((alpha if x < 0 else beta) * x)),
    "aulu": lambda x, beta1, beta2: HALF * x * (1 + mp.tanh((beta1**2 if x < 0 else beta2**2) * x)),
    "xatlu": lambda x, alpha: x * (cauchy_cdf(x) * (1 + 2 * alpha) - alpha),
    "xgelu": lambda x, alpha: x * (cdf(x) * (1 + 2 * alpha) - alpha),
    "xsilu": lambda x, alpha: x * (sigmoid(x) * (1 + 2 * alpha) - alpha),
    # periodic
    "sin": lambda x: mp.sin(x),
    "cosine": lambda x: mp.cos(x),
    "siren": lambda x, omega: mp.sin(omega * x),
    "snake": lambda x, a: x + mp.sin(a * x) ** 2 / a,
    "gcu": lambda x: x * mp.cos(x),
    "asu": lambda x: x * mp.sin(x),
    "ncu": lambda x: x - x**3,
    "cosid": lambda x: mp.cos(x) - x,
    "minsin": lambda x: min(x, mp.sin(x)),
    "maxsig": lambda x: max(x, sigmoid(x)),
    "maxtanh": lambda x: max(x, mp.tanh(x)),
    "arctanid": lambda x: mp.atan(x) ** 2 - x,
    "sincid": lambda x: sinc(x) + x,
    "xasinh2": lambda x: x * mp.asinh(x) ** 2,
    "staf": staf,
    "gelusine": lambda x: gelu(x) + mp.sin(x) / 10,
    "gsp": lambda x: gelu(x) * (1 + sinc(mp.pi * x) / 2),
    "gmtu": lambda x: mp.tanh(3 * x / 2) * mp.exp(-(x**2) / 5) + x / 5,
    # normalisers
    "dyt": lambda x, alpha, gamma, beta: gamma * mp.tanh(alpha * x) + beta,
    "derf": lambda x, alpha, s, gamma, beta: gamma * mp.erf(alpha * x + s) + beta,
}

# Where a function has no derivative, given its parameters and constants.
KINKS = {
    "step": lambda: [0],
    "hard_sigmoid": lambda: [-3, 3],
    "hard_sigmoid_keras": lambda: [-2.5, 2.5],
    "hard_tanh": lambda: [-1, 1],
    "penalized_tanh": lambda a: [0],
    "relu": lambda: [0],
    "relu6": lambda: [0, 6],
    "leaky_relu": lambda alpha: [0],
    "prelu": lambda a: [0],
    "rrelu": lambda lower, upper: [0],
    "srelu": lambda t_l, a_l, t_r, a_r: [t_l] if a_r == 1 else [t_l, t_r],
    "apl": lambda a1, b1, a2, b2: [0, b1, b2],
    "flexrelu": lambda b: [0],
    "sine_relu": lambda epsilon: [0],
    "nlrelu": lambda beta: [0],
    "poly_relu": lambda a0, a1, a2, a3: [0],
    "thresholded_relu": lambda theta: [theta],
    "hard_shrink": lambda lam: [-lam, lam],
    "soft_shrink": lambda lam: [-lam, lam],
    "elu": lambda alpha: [] if alpha == 1 else [0],
    "selu": lambda lam, alpha: [0],
    "serlu": lambda lam, alpha: [0],
    "mpelu": lambda a, b: [] if a * b == 1 else [0],
    "pdelu": lambda a, t: [] if a == 1 else [0],
    "pau": lambda **values: [0],
    "polu": lambda n: [] if n == 1 else [0],
    "ptelu": lambda a, b: [] if a * b == 1 else [0],
    "erf_relu": lambda a: [0],
    "nelu": lambda alpha: [0],
    "hard_swish": lambda: [-3, 3],
    "hard_elish": lambda: [-1, 1],
    "fts": lambda t: [0],
    "crrelu": lambda epsilon: [0],
    "maxsig": lambda: [0.6590460684074067],
}

# The derivative by x may be off by max(1, x²) times the usual bound: with z = 1/x it is, on the left,
# (atan(z) - z/(1 + z²))/π, whose terms agree to all but z²; the language has no function for that
# difference. In absolute terms the error is below 1e-8 in float32.
LOOSE = {"calu", "xatlu"}

# Derivatives by a parameter that are a small difference of terms of the size of x or less, and are
# accurate as compared with x only.
LOOSE_PARAMETERS = {("aglu", "lam"), ("swish_t_c", "beta"), ("xielu", "a_n")}
