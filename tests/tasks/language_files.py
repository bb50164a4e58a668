"""Tiny copies of what the language tasks read, in the true forms: GPT-2's folder, SHP, HH and WMT14."""

import gzip
import json

QUESTIONS = ("How do I boil an egg?", "Why is the sky blue?", "What is a prime number?", "Who wrote Faust?",
             "How far is the moon?", "Can cats swim?")  # fmt: skip
ANSWERS = ("Put it into hot water.", "I do not know that at all.", "Light is scattered by air.", "Ask somebody else.")


def write_gpt2(folder, width=32, vocabulary=300):
    """A small GPT-2 with a byte-level tokenizer trained on the questions, as transformers saves them."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([*QUESTIONS, *ANSWERS], vocab_size=vocabulary, special_tokens=["<|endoftext|>"],
                                  show_progress=False)  # fmt: skip
    tokenizer.save_model(str(folder))
    torch.manual_seed(0)
    size = tokenizer.get_vocab_size()
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=size, n_positions=512, n_embd=width, n_layer=2, n_head=2, **ends)
    GPT2LMHeadModel(config).save_pretrained(folder)


def shp_rows(count):
    for number in range(count):
        yield {
            "post_id": f"p{number}", "domain": "askscience_test", "upvote_ratio": 0.9,
            "history": QUESTIONS[number % 6], "c_root_id_A": "a", "c_root_id_B": "b",
            "created_at_utc_A": 2, "created_at_utc_B": 1, "score_A": 30, "score_B": 10,
            "human_ref_A": ANSWERS[number % 4], "human_ref_B": ANSWERS[(number + 1) % 4],
            "labels": number % 2, "seconds_difference": 1.0, "score_ratio": 3.0,
        }  # fmt: skip


def write_shp(folder):
    """One folder for each part of Reddit, in it JSON lines with the ending .json."""
    for name in ("askscience", "askbaking"):
        (folder / name).mkdir(parents=True)
        for split, count in (("train", 12), ("validation", 4), ("test", 6)):
            lines = "\n".join(json.dumps(row) for row in shp_rows(count))
            (folder / name / f"{split}.json").write_text(lines + "\n", encoding="utf-8")


def hh_rows(count):
    for number in range(count):
        prompt = f"\n\nHuman: {QUESTIONS[number % 6]}\n\nAssistant: Well.\n\nHuman: Go on.\n\nAssistant:"
        yield {"chosen": f"{prompt} {ANSWERS[number % 2]}", "rejected": f"{prompt} {ANSWERS[2 + number % 2]}"}


def write_hh(folder):
    """Folders with gzipped JSON lines, and the red teams' transcripts beside them."""
    for name, split, count in (
        ("helpful-base", "train", 30),
        ("harmless-base", "train", 20),
        ("helpful-base", "test", 6),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        text = "\n".join(json.dumps(row) for row in hh_rows(count))
        (folder / name / f"{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "red-team-attempts").mkdir()
    row = json.dumps({"transcript": "\n\nHuman: hi", "min_harmlessness_score_transcript": 1.0})
    (folder / "red-team-attempts" / "train.jsonl.gz").write_bytes(gzip.compress(row.encode()))


ENGLISH = {"the": "die", "cat": "Katze", "sees": "sieht", "dog": "Hund", "a": "ein", "house": "Haus", "big": "groß",
           "and": "und", "old": "alt"}  # fmt: skip


def sentences(count, seed):
    """Word by word translations of made-up sentences."""
    import random

    generator = random.Random(seed)
    for _ in range(count):
        words = generator.choices(list(ENGLISH), k=generator.randint(2, 5))
        yield " ".join(words) + ".", " ".join(ENGLISH[word] for word in words) + "."


SPLITS = (("train", "train", 150), ("validation", "newstest2013", 20), ("test", "newstest2014", 20))


def write_wmt_text(folder):
    folder.mkdir(parents=True)
    for seed, (_, name, count) in enumerate(SPLITS):
        english, german = zip(*sentences(count, seed), strict=True)
        (folder / f"{name}.en").write_text("\n".join(english) + "\n", encoding="utf-8")
        (folder / f"{name}.de").write_text("\n".join(german) + "\n", encoding="utf-8")


def wmt_rows(count, seed):
    return [{"translation": {"de": german, "en": english}} for english, german in sentences(count, seed)]
