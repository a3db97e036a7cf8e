"""`pb_utils.ModelConfig`: what `auto_complete_config` may add to a model's configuration.

The rules and texts are those of Triton's `triton_python_backend_utils.py`: a value that the configuration already has
may be repeated, never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_SCHEDULERS: Final = ("sequence_batching", "ensemble_scheduling")


class ModelConfig:
    """A model configuration under completion; `as_dict` is its JSON form."""

    def __init__(self, model_config: str) -> None:
        self._config: dict[str, Any] = json.loads(model_config)
        self._name: str = self._config["name"]

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as it is now."""
        return self._config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set max_batch_size; ValueError when the configuration asks for more."""
        configured = self._config["max_batch_size"]
        if configured > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {configured}, but in auto-complete-config function for model "
                f"'{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Choose the dynamic batcher; ValueError when another scheduler is configured."""
        for scheduler in _SCHEDULERS:
            if scheduler in self._config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{scheduler}', but auto-complete-config function "
                    f"for model '{self._name}' tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._config.setdefault("dynamic_batching", {})

    def add_input(self, input: Mapping[str, Any]) -> None:  # noqa: A002  Triton's parameter name
        """Add an input, a dict of name, data_type, dims and optional; ValueError when the configuration differs."""
        self._add(
            "input", input, ("name", "data_type", "dims", "optional"), "'name', 'data_type', 'dims' and 'optional'"
        )

    def add_output(self, output: Mapping[str, Any]) -> None:
        """Add an output, a dict of name, data_type and dims; ValueError when the configuration differs."""
        self._add("output", output, ("name", "data_type", "dims"), "'name', 'data_type' and 'dims'")

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        """Set {"decoupled": bool}; ValueError when the configuration says otherwise."""
        if any(key != "decoupled" for key in transaction_policy_dict):
            raise ValueError(
                f"model transaction property in auto-complete-config function for model '{self._name}' contains "
                "property other than 'decoupled'."
            )
        policy = self._config.setdefault("model_transaction_policy", {})
        if "decoupled" not in transaction_policy_dict:
            return
        decoupled = transaction_policy_dict["decoupled"]
        if policy.get("decoupled", decoupled) != decoupled:
            raise ValueError(
                f"trying to change decoupled property in auto-complete-config for model '{self._name}', which is "
                f"already set to '{policy['decoupled']}'."
            )
        policy["decoupled"] = decoupled

    def _add(self, kind: str, tensor: Mapping[str, Any], known: tuple[str, ...], listed: str) -> None:
        where = f"in auto-complete-config function for model '{self._name}'"
        named = f"{kind} '{tensor['name']}'" if "name" in tensor else kind
        if any(key not in known for key in tensor):
            raise ValueError(f"{named} {where} contains property other than {listed}.")
        for key in ("name", "data_type", "dims"):
            if key not in tensor:
                raise ValueError(f"{named} {where} is missing '{key}' property.")
        tensors = self._config.setdefault(kind, [])
        for configured in tensors:
            if configured["name"] == tensor["name"]:
                self._merge(kind, configured, tensor)
                return
        tensors.append(dict(tensor))

    def _merge(self, kind: str, configured: dict[str, Any], tensor: Mapping[str, Any]) -> None:
        name = tensor["name"]
        if configured["data_type"] not in ("TYPE_INVALID", tensor["data_type"]):
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype {configured['data_type']} for "
                f"{kind} '{name}', model provides {tensor['data_type']}"
            )
        if configured["dims"] and configured["dims"] != tensor["dims"]:
            raise self._conflict(name, "dims", tensor, configured)
        if "optional" in configured and configured["optional"] != tensor.get("optional", configured["optional"]):
            raise self._conflict(name, "optional", tensor, configured)
        configured.update(tensor)

    def _conflict(self, name: str, key: str, tensor: Mapping[str, Any], configured: Mapping[str, Any]) -> ValueError:
        return ValueError(
            f"model '{self._name}', tensor '{name}': the model expects {key} {tensor[key]} but the model configuration "
            f"specifies {key} {configured[key]}"
        )
