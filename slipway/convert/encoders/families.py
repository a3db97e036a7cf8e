"""The encoders that `transformers` computes and this package can trace: a row for each `model_type`.

A row says only what differs: inputs, where positions begin, which class is the encoder alone. Networks that cannot be
traced as they are have a second form (forms.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slipway.convert.directory import Task
from slipway.errors import SlipwayError, invalid


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """What differs between the encoders of one `model_type`.

    `encoder_class` is the class of the encoder alone where AutoModel has a decoder too; `form` names a row of forms.py;
    `padding` is transformers' own padding id where config.json does not set one; `note` is what the converted model
    does unlike transformers.
    """

    token_types: bool = True  # takes token_type_ids
    offset_positions: bool = False  # positions start after the padding id, as in fairseq
    first_position: int = 0  # ... or here, whatever the padding id is
    padding: int = 0
    attends: bool = True  # takes attention_mask
    encoder_class: str = ""
    form: str = ""
    ends: bool = False  # labels are read at the last end-of-text token, which every text must have
    pads_by_id: bool = False  # labels are read at the last token that is not the padding id
    without: tuple[Task, ...] = ()  # heads that need more than text, or more than a trace can express
    note: str = ""


_FAIRSEQ: Final = EncoderFamily(token_types=False, offset_positions=True, padding=1)
_PLAIN: Final = EncoderFamily(token_types=False)
_NO_ENCODER: Final = (Task.HIDDEN_STATES,)  # what lies below the head is a decoder too
_TO_TEXT: Final = EncoderFamily(token_types=False, ends=True, form="end of text", without=_NO_ENCODER, padding=1)


def _t5(encoder_class: str) -> EncoderFamily:
    return EncoderFamily(token_types=False, encoder_class=encoder_class, ends=True, form="end of text")


FAMILIES: Final[dict[str, EncoderFamily]] = {
    "albert": EncoderFamily(),
    "bart": _TO_TEXT,
    "bert": EncoderFamily(),
    "big_bird": EncoderFamily(
        form="full attention",
        without=(Task.QUESTIONS,),
        note="BigBird attends to random blocks of texts that are longer than {longest} tokens, and to all tokens of "
        "shorter ones; here texts are cut to {longest} tokens",
    ),
    "camembert": _FAIRSEQ,
    "deberta": EncoderFamily(),
    "deberta-v2": EncoderFamily(),
    "distilbert": _PLAIN,
    "electra": EncoderFamily(),
    "eurobert": _PLAIN,
    "fnet": EncoderFamily(padding=3, attends=False, form="masked Fourier"),
    "gpt2": EncoderFamily(token_types=False, pads_by_id=True, without=_NO_ENCODER),
    "gte": EncoderFamily(padding=1),
    "layoutlm": EncoderFamily(
        without=(Task.QUESTIONS,),
        note="LayoutLM is asked without places on a page: the box of every token is (0, 0, 0, 0), as transformers sets "
        "it where none is given",
    ),
    "longformer": EncoderFamily(
        token_types=False, offset_positions=True, padding=1, form="banded attention", without=(Task.QUESTIONS,)
    ),
    "mbart": _TO_TEXT,
    "mobilebert": EncoderFamily(form="nothing beyond"),
    "modernbert": _PLAIN,
    "mpnet": replace(_FAIRSEQ, first_position=2),
    "mt5": _t5("MT5EncoderModel"),
    "nomic_bert": EncoderFamily(),
    "roberta": _FAIRSEQ,
    "roformer": EncoderFamily(),
    "squeezebert": EncoderFamily(),
    "t5": _t5("T5EncoderModel"),
    "umt5": _t5("UMT5EncoderModel"),
    "xlm-roberta": _FAIRSEQ,
}
# The model types that generation/source.py reads.
GENERATING: Final = ("bart", "gpt2", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5")

# The task that a head was trained for, by suffix of the architecture's name.
HEADS: Final = {
    "ForSequenceClassification": Task.CLASSIFICATION,
    "ForTokenClassification": Task.TOKENS,
    "ForQuestionAnswering": Task.QUESTIONS,
    "ForMaskedLM": Task.MASK,
    "ForPreTraining": Task.HIDDEN_STATES,
    "Model": Task.HIDDEN_STATES,
}
_EXPORT: Final = (
    "the nearest way: export it to ONNX where it runs (torch.onnx.export, or optimum-cli export onnx) and convert that "
    "file"
)


def unknown_family(architecture: str, model_type: str) -> SlipwayError:
    """Return the error for a model type without a row."""
    return invalid(
        f"architecture '{architecture or model_type}' (model_type '{model_type}') is not supported; "
        f"supported model types: {', '.join(FAMILIES)}; for text generation: {', '.join(GENERATING)}; "
        f"{_EXPORT}"
    )


def unknown_head(architecture: str, model_type: str) -> SlipwayError:
    """Return the error for a head without a task, in a family that has others."""
    family = FAMILIES[model_type]
    known = [suffix for suffix, task in HEADS.items() if task not in family.without]
    bare = "--task hidden-states converts the encoder without its head; "
    bare = "" if Task.HIDDEN_STATES in family.without else bare
    return invalid(
        f"architecture '{architecture}' is not supported; supported for model_type '{model_type}': "
        f"*{', *'.join(known)}, and sentence-transformers directories; {bare}{_EXPORT}"
    )
