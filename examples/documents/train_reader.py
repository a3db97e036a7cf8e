"""Train a small document reader until it knows the two pages of the report by heart: `train_reader.py OUT_DIRECTORY`.

A `VisionEncoderDecoderModel` of transformers in the shape of ECLAIR: a page of 1280 x 1024 pixels to markup. What a
real one learns from millions of pages does not fit into an example. So this one has seen only two, and reads no others;
it stands for the real weights, which are not public. Everything around it is the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from layouts import CAPTION, CHART, PARAGRAPH, TABLE, TITLE, Drawn
from rendering import rendered
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)
from transformers.utils import logging

from slipway.documents.canvas import HEIGHT, WIDTH, Canvas, canvas_of

PATCH = 64
HIDDEN = 96
MOST_TOKENS = 512
RATE = 1.5e-3
ENOUGH = 0.02  # loss per token: from here on, every token is certain
DPI = 300
# Captions are read as text: clients of ECLAIR leave the class Caption out, and pick captions among the texts.
CLASSES = {TITLE: "Title", PARAGRAPH: "Text", CAPTION: "Text", TABLE: "Table", CHART: "Picture"}
SPECIAL = ("<s>", "<pad>", "</s>")


def markup(drawn: list[Drawn], canvas: Canvas) -> str:
    """Return what ECLAIR writes for a page that lies on a canvas."""
    inner = (WIDTH - 2 * canvas.left, HEIGHT - 2 * canvas.above)
    parts = []
    for each in drawn:
        x1, x2 = (round(canvas.left + part * inner[0]) for part in each.box[::2])
        y1, y2 = (round(canvas.above + part * inner[1]) for part in each.box[1::2])
        parts.append(f"<x_{x1}><y_{y1}>{each.text}<x_{x2}><y_{y2}><class_{CLASSES[each.kind]}>")
    return "\n".join(parts)


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer in which every coordinate and class is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [f"<{axis}_{place}>" for axis, most in (("x", WIDTH), ("y", HEIGHT)) for place in range(most + 1)]
    marks += [f"<class_{name}>" for name in sorted({*CLASSES.values()})]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[0],
        pad_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        clean_up_tokenization_spaces=False,
        model_max_length=MOST_TOKENS,
    )


def make_reader(tokens: int) -> VisionEncoderDecoderModel:
    """Return an untrained reader with that many tokens."""
    encoder = ViTConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=2 * HIDDEN,
        image_size=[HEIGHT, WIDTH],
        patch_size=PATCH,
    )
    decoder = TrOCRConfig(
        vocab_size=tokens,
        d_model=HIDDEN,
        decoder_layers=3,
        decoder_attention_heads=4,
        decoder_ffn_dim=2 * HIDDEN,
        max_position_embeddings=MOST_TOKENS,
        dropout=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 0, 1, 2
    model = VisionEncoderDecoderModel(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=0, bos_token_id=0, pad_token_id=1, eos_token_id=2, max_length=MOST_TOKENS
    )
    return model


def train(model: VisionEncoderDecoderModel, pixels: torch.Tensor, ids: torch.Tensor, steps: int) -> int:
    """Train until every token is certain, or for all steps; return the number of steps."""
    labels = ids.masked_fill(ids == model.config.pad_token_id, -100)
    optimiser = torch.optim.AdamW(model.parameters(), RATE)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    model.train()
    for step in range(1, steps + 1):
        loss = model(pixel_values=pixels, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        if step % 50 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
        if loss.item() < ENOUGH:
            break
    model.eval()
    return step


def main() -> None:
    """Train on the pages of a PDF, check that the reader repeats them, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--report", type=Path, required=True, help="PDF with a .json of what is on its pages beside it")
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    from transformers import ViTImageProcessor  # only now: importing it prints a remark on torchvision

    known = json.loads(arguments.report.with_suffix(".json").read_text(encoding="utf-8"))
    pages = [[Drawn(each["kind"], tuple(each["box"]), each["text"]) for each in page] for page in known]
    canvases = [canvas_of(page) for page in rendered(arguments.report, DPI)]
    texts = [markup(drawn, canvas) for drawn, canvas in zip(pages, canvases, strict=True)]
    tokenizer = make_tokenizer(texts)
    processor = ViTImageProcessor(size={"height": HEIGHT, "width": WIDTH}, do_resize=False)
    pixels = processor([canvas.pixels for canvas in canvases], return_tensors="pt").pixel_values
    rows = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    model = make_reader(len(tokenizer))
    steps = train(model, pixels, ids, arguments.steps)
    with torch.no_grad():
        found = model.generate(pixels, max_length=MOST_TOKENS)
    read = tokenizer.batch_decode(found, skip_special_tokens=True)
    if read != texts:
        raise SystemExit(f"after {steps} steps, the reader does not repeat the pages; train it longer (--steps)")
    print(f"reader: {len(texts)} pages of {[len(row) for row in rows]} tokens known after {steps} steps")
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    processor.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
