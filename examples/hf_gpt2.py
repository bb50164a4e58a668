"""A GPT-2 checkpoint goes on with another activation, named in its config: python examples/hf_gpt2.py"""

import tempfile
from pydoc_data.topics import topics

import torch
import transformers

import nonlin as nl

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.manual_seed(0)
nl.hf.register()  # from now on a config may say nonlin:NAME or nonlin:FORMULA

text = torch.tensor(list("\n".join(topics.values()).encode("ascii", "replace")[:200_000]))  # of Python's own help
sizes = {"vocab_size": 128, "n_positions": 32, "n_embd": 48, "n_layer": 2, "n_head": 4}
ends = {"bos_token_id": 0, "eos_token_id": 0}
model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **ends, activation_function="gelu_new"))


def fit(model, steps):
    """Trains; the loss in nats for a character, over the last steps."""
    optimiser, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(steps):
        rows = text[torch.randint(len(text) - 32, (16, 1)) + torch.arange(32)]
        loss = model(rows, labels=rows).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


with tempfile.TemporaryDirectory() as folder:
    print(f"gelu_new, 120 steps: {fit(model, 120):.2f}")
    model.save_pretrained(folder)
    for act in ("gelu_new", "nonlin:swish; beta=1.7"):  # one word of the config; the weights are the checkpoint's
        new = transformers.GPT2LMHeadModel.from_pretrained(folder, activation_function=act)
        print(f"from there with {act}, 20 steps: {fit(new, 20):.2f}, 40 more: {fit(new, 40):.2f}")
    new.save_pretrained(folder)
    again = transformers.GPT2LMHeadModel.from_pretrained(folder)
    rows = text[None, :32]
    print("saved and loaded, the same outputs:", torch.equal(again.eval()(rows).logits, new.eval()(rows).logits))
    print("trained:", {name: round(p.item(), 3) for name, p in again.named_parameters() if name.endswith("beta")})
