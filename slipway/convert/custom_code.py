"""Custom code in a Hugging Face directory: it is never run, and refused if the converted model would differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slipway.convert.directory import read_json_object
from slipway.errors import invalid


def check_custom_code(directory: Path, model_type: str, auto_class: str) -> list[str]:
    """Raise `SlipwayError` if the checkpoint comes with custom code for the converted classes (its configuration, its
    tokenizer, and `auto_class`), under a name that transformers does not have; return notes on other custom code, which
    is not run."""
    notes: list[str] = []
    for file in ("config.json", "tokenizer_config.json"):
        settings = read_json_object(directory / file) if (directory / file).exists() else {}
        for replaced, reference in _code(settings.get("auto_map")):
            matters = replaced in ("AutoConfig", "AutoTokenizer", auto_class)
            if matters and not _is_transformers_own(replaced, reference, model_type):
                raise invalid(
                    f"{directory / file}: 'auto_map' names custom code, {reference}, as {replaced}; it is not run, "
                    f"and transformers' own class may compute something else from the weights: convert a version "
                    f"without 'auto_map', or an ONNX export of the model"
                )
            notes.append(f"{file} names custom code ({replaced}: {reference}), which is not run")
    return notes


def _code(auto_map: Any) -> list[tuple[str, str]]:
    """Return auto class and class of each entry; a tokenizer's entry has a slow and a fast class."""
    if isinstance(auto_map, list):
        auto_map = {"AutoTokenizer": auto_map}
    return [
        (str(auto_class), str(reference))
        for auto_class, references in (auto_map or {}).items()
        for reference in (references if isinstance(references, list) else [references])
        if reference
    ]


def _is_transformers_own(auto_class: str, reference: str, model_type: str) -> bool:
    """Return whether transformers has since adopted the code: it has the same class name for this auto class."""
    import transformers

    name = reference.rpartition(".")[2]
    if auto_class == "AutoConfig":
        return bool(transformers.CONFIG_MAPPING[model_type].__name__ == name)
    if auto_class == "AutoTokenizer":
        return hasattr(transformers, name)
    config_class = transformers.CONFIG_MAPPING[model_type]
    mapping = getattr(transformers, auto_class)._model_mapping  # noqa: SLF001  there is no public name for it
    return config_class in mapping and mapping[config_class].__name__ == name
