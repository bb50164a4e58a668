"""`mnist-cnn` and `fashion-cnn`: one convolutional network, everything fixed but the activation.

The network, optimiser and split of the comparison in [Hansen2019], which tries sigmoid, ReLU, ELU, leaky ReLU
of slope 0.2, SELU and GELU in its tanh form. By the names of the catalogue, with a formula for the slope:

    sigmoid  relu  elu  "max(0.2*x, x)"  selu  gelu_tanh

What Keras does by default is done here: convolutions without padding, Glorot's uniform weights [Glorot2010],
biases 0, learning rate 0.001, the last fifth of the training images for validation. Two things differ. The
number of epochs, 12, is our choice; and Adam's epsilon is torch's 1e-8, not Keras' 1e-7. Pixels go from 0 to 1
and are not standardised, which SELU's theory asks for.

The weights suit no activation in particular. With ReLU they are left as they are; others get them scaled by
their gain against ReLU's unless that is switched off (``normalise=False``), which is the article's way.

References
----------
[Hansen2019] C. Hansen, "Activation functions explained - GELU, SELU, ELU, ReLU and more", 2019
[Glorot2010] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, eq. 16
"""

from __future__ import annotations

from torch import nn

from nonlin.tasks.pictures.mnist_files import ImageFiles
from nonlin.tasks.task import ActivationFactory, Budget, Task
from nonlin.tasks.weights import glorot_uniform


def build_cnn(activation: ActivationFactory) -> nn.Module:
    """Images (batch, 1, 28, 28) to logits (batch, 10); 1,199,882 weights."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        activation(32),
        nn.Conv2d(32, 64, 3),
        activation(64),
        nn.MaxPool2d(2),  # (batch, 64, 12, 12)
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * 12 * 12, 128),
        activation(128),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    glorot_uniform(model)
    return model


_BUDGET = Budget(epochs=12, batch_size=128, optimizer="adam", learning_rate=1e-3, clip_value=0.5)

MNIST_CNN = Task(
    name="mnist-cnn",
    build=build_cnn,
    data=ImageFiles("MNIST", "mnist", "mnist-cnn"),
    budget=_BUDGET,
    remark="convolutional network 32-64-pool-128-10 with dropout on MNIST (28x28 pixels)",
    parameters=1_199_882,
)

FASHION_CNN = Task(
    name="fashion-cnn",
    build=build_cnn,
    data=ImageFiles("Fashion-MNIST", "fashion-mnist", "fashion-cnn"),
    budget=_BUDGET,
    remark="the network of mnist-cnn on Fashion-MNIST",
    parameters=1_199_882,
)
