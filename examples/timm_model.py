"""Any activation in the models of timm, by act_layer= or by swap: python examples/timm_model.py"""

import timm
import torch

import nonlin as nl

torch.manual_seed(0)
act = "x*tanh(softplus(beta*x))"  # mish with a trainable slope
images = torch.randn(2, 3, 64, 64)


# Where a family takes act_layer=, a new model is built with it. What its blocks fix by themselves stays.
built = timm.create_model("mobilenetv3_small_050", num_classes=10, act_layer=nl.timm.act_layer(act))
kinds = [type(module).__name__ for module in built.modules()]
print(f"mobilenetv3_small_050 by act_layer=: {kinds.count('ActivationModule')} activations,", end=" ")
print(f"and {kinds.count('ReLU')} times ReLU, which its blocks ask for by name")

# swap reaches all of them, in every family, and in a model with pre-trained weights.
for name, sizes in (("mobilenetv3_small_050", {}), ("ghostnet_050", {}), ("vit_tiny_patch16_224", {"img_size": 64})):
    model = timm.create_model(name, num_classes=10, **sizes).eval()
    before = model(images)
    report = nl.swap(model, act, per="channel", example=images)
    betas = sum(p.numel() for key, p in model.named_parameters() if key.endswith("beta"))
    print(f"{name} by swap: {len(report)} activations, {betas} betas, {len(report.skipped)} left out,", end=" ")
    print(f"outputs differ by up to {(model(images) - before).abs().max():.2g}", end="; ")
    report.undo()
    print("undone:", torch.equal(model(images), before))
