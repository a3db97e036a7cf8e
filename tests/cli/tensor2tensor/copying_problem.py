"""An own problem that a tiny network learns quickly, made by data generation: the words of a line, in other words."""

from __future__ import annotations

import random

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}
TOML = """
[translate_counting]
source = "train.en"
target = "train.de"
dev_source = "dev.en"
dev_target = "dev.de"
vocabulary_size = 100
shards = 2
"""
HPARAMS = (
    "hidden_size=32,filter_size=64,num_hidden_layers=1,num_heads=2,batch_size=512,max_length=40,"
    "learning_rate_schedule=constant*linear_warmup,learning_rate_constant=0.01,learning_rate_warmup_steps=10"
)


def write_problem(directory, lines=300):
    """Write the problem's table and text into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "problems.toml").write_text(TOML, encoding="utf-8")
    source = random.Random(3)
    for split, count in (("train", lines), ("dev", 20)):
        sentences = [source.choices(list(WORDS), k=source.randint(1, 5)) for _ in range(count)]
        (directory / f"{split}.en").write_text("".join(" ".join(line) + "\n" for line in sentences), encoding="utf-8")
        german = "".join(" ".join(WORDS[word] for word in line) + "\n" for line in sentences)
        (directory / f"{split}.de").write_text(german, encoding="utf-8")


def trainer_flags(directory, **flags):
    """Return the arguments of a training of the problem in `directory`."""
    values = {
        "problem": "translate_counting",
        "model": "transformer",
        "hparams_set": "transformer_tiny",
        "hparams": HPARAMS,
        "data_dir": directory / "data",
        "tmp_dir": directory / "tmp",
        "output_dir": directory / "train",
        "t2t_usr_dir": directory / "problem",
        "generate_data": True,
        "train_steps": 6,
        "local_eval_frequency": 3,
        "worker_gpu": 0,
        **flags,
    }
    return [f"--{name}={value}" for name, value in values.items()]
