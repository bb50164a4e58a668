"""A vision transformer whose config names its activation, per channel and trainable: python examples/hf_vit.py"""

import tempfile

import torch
import transformers
from sklearn.datasets import load_digits

import nonlin as nl

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1  # (1797, 1, 8, 8)
labels = torch.tensor(load_digits().target)
nl.hf.register()

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SHAPE = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}


def trained(act):
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, **SHAPE, hidden_act=act))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(4):
        for rows in torch.randperm(1300).split(65):
            loss = model(pixel_values=images[rows], labels=labels[rows]).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        right = model.eval()(images[1300:]).logits.argmax(1) == labels[1300:]
    print(f"{act:<38} accuracy {right.float().mean():.3f}, {sum(p.numel() for p in model.parameters())} parameters")
    return model


trained("gelu")  # the usual one, by its own name
trained("nonlin:x*tanh(softplus(x))")  # any formula
model = trained(nl.hf.name("swish", channels=64))  # one beta for each hidden feature
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)  # config.json holds the text, the weights file the betas
    loaded = transformers.ViTForImageClassification.from_pretrained(folder).eval()
print("saved and loaded, the same outputs:", torch.equal(loaded(images[:9]).logits, model(images[:9]).logits))
betas = torch.cat([p.detach() for name, p in loaded.named_parameters() if name.endswith("beta")])
print(f"{len(betas)} betas, from {betas.min():.2f} to {betas.max():.2f}; one seed each: the order above means nothing")
