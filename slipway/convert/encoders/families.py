"""The encoders of `transformers` that can be converted: a table with one row per `model_type`.

A row holds only what differs: inputs, where positions begin, the class of the encoder alone. Networks that cannot be
traced have a second implementation (forms.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slipway.checkpoints.huggingface.decoder_families import DECODER_FAMILIES
from slipway.convert.directory import Task
from slipway.errors import SlipwayError, invalid


@dataclass(frozen=True, slots=True)
class QuestionHead:
    """The properties of a family's question-answering head that differ.

    transformers requires exactly `separators` separator tokens in each pair of texts; `note` is like a family's.
    """

    auto_class: str = ""  # if it is not AutoModelForQuestionAnswering
    separators: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """The properties that differ between encoders, by `model_type`.

    `encoder_class` is the class of the encoder alone, for families whose AutoModel includes a decoder; `form` names a
    row of forms.py; `padding` is transformers' default padding id; `note` names a difference between the converted
    model and transformers.
    """

    token_types: bool = True  # takes token_type_ids
    offset_positions: bool = False  # positions start after the padding id, as in fairseq
    first_position: int = 0  # ... or here, independent of the padding id
    padding: int = 0
    attends: bool = True  # takes attention_mask
    encoder_class: str = ""
    form: str = ""
    ends: bool = False  # labels are read at the last end-of-text token, which every text must have
    pads_by_id: bool = False  # labels are read at the last token that is not the padding id
    without: tuple[Task, ...] = ()  # tasks that its networks cannot do
    questions: QuestionHead = QuestionHead()
    note: str = ""


_FAIRSEQ: Final = EncoderFamily(token_types=False, offset_positions=True, padding=1)
_PLAIN: Final = EncoderFamily(token_types=False)
_NO_ENCODER: Final = (Task.HIDDEN_STATES,)  # the network below the head includes a decoder
_TO_TEXT: Final = EncoderFamily(token_types=False, ends=True, form="end of text", without=_NO_ENCODER, padding=1)


def _t5(encoder_class: str) -> EncoderFamily:
    return EncoderFamily(token_types=False, encoder_class=encoder_class, ends=True, form="end of text")


FAMILIES: Final[dict[str, EncoderFamily]] = {
    "albert": EncoderFamily(),
    "bart": _TO_TEXT,
    "bert": EncoderFamily(),
    "big_bird": EncoderFamily(
        form="full attention",
        questions=QuestionHead(
            note="the logits of the question's tokens are those of the network; transformers lowers them by 1,000,000, "
            "so that no answer contains them, and the answers of the served model never do"
        ),
        note="BigBird uses random sparse attention for texts of more than {longest} tokens, and full attention for "
        "shorter ones; the converted model truncates texts to {longest} tokens",
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
        questions=QuestionHead("AutoModelForDocumentQuestionAnswering"),
        note="LayoutLM runs without positions on a page: the box of every token is (0, 0, 0, 0), the default of "
        "transformers",
    ),
    "longformer": replace(_FAIRSEQ, form="banded attention", questions=QuestionHead(separators=3)),
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
GENERATING: Final = (
    "bart", "blenderbot", "gpt2", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5", "umt5", *DECODER_FAMILIES,
)  # fmt: skip

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
    "as a workaround, export it to ONNX (torch.onnx.export or optimum-cli export onnx) and convert that file"
)


def unknown_family(architecture: str, model_type: str) -> SlipwayError:
    """Return the error for a model type without a row."""
    return invalid(
        f"architecture '{architecture or model_type}' (model_type '{model_type}') is not supported; "
        f"supported model types: {', '.join(FAMILIES)}; for text generation: {', '.join(GENERATING)}; "
        f"{_EXPORT}"
    )


def unknown_head(architecture: str, model_type: str) -> SlipwayError:
    """Return the error for an unsupported head in a supported family."""
    family = FAMILIES[model_type]
    known = [suffix for suffix, task in HEADS.items() if task not in family.without]
    bare = "--task hidden-states converts the encoder without its head; "
    bare = "" if Task.HIDDEN_STATES in family.without else bare
    return invalid(
        f"architecture '{architecture}' is not supported; supported for model_type '{model_type}': "
        f"*{', *'.join(known)}, and sentence-transformers directories; {bare}{_EXPORT}"
    )
