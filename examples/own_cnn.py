"""Another activation in a CNN that is already trained, at once or gradually: python examples/own_cnn.py"""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import nonlin as nl

torch.manual_seed(0)
images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1  # (1797, 1, 8, 8)
labels = torch.tensor(load_digits().target)
train, test = torch.randperm(len(labels)).split([1300, 497])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.act, self.two = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16 * 16, 10)

    def forward(self, x):  # an activation as a module, and one as a call: swap finds both
        return self.head(F.max_pool2d(F.relu(self.two(self.act(self.one(x)))), 2).flatten(1))


def fit(net, epochs):
    """Trains with 26 steps an epoch; the test accuracy before and after each."""
    optimiser, found = torch.optim.Adam(net.parameters(), lr=5e-3), []
    for epoch in range(epochs + 1):
        for rows in train[torch.randperm(len(train))].split(50) if epoch else ():
            loss = F.cross_entropy(net.train()(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found.append(float((net.eval()(images[test]).argmax(1) == labels[test]).float().mean()))
    return " ".join(f"{accuracy:.3f}" for accuracy in found)


relu = Net()
print("ReLU, from its start     ", fit(relu, 5))
for title, steps in (("tanh, swapped at once   ", 0), ("tanh, blended in 78 steps", 78)):
    net = copy.deepcopy(relu)
    names = nl.swap(net, "tanh", blend=steps)
    print(title, fit(net, 4))
print("replaced:", *names, "| blends that arrived and are gone:", *nl.nn.finish_blends(net))
print("A blend spares the fall at the start. Where both end, one seed cannot tell.")
