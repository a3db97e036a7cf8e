"""Write a torch module as ONNX or TorchScript, with the variable dims of its interface.

Independent of tasks and checkpoints: needs only a module, an example and an interface.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

from slipway.convert.arrays import Arrays
from slipway.convert.candidates.subject import Interface
from slipway.convert.libraries import cause_of
from slipway.convert.onnx_file import trace
from slipway.errors import invalid

TORCH_DTYPES: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def export_onnx(module: Any, example: Arrays, interface: Interface, path: Path) -> None:
    """Trace `module` to an ONNX file; raise `SlipwayError` if torch cannot export it."""
    import torch

    with torch.inference_mode():
        try:
            trace(
                module,
                _tensors(example),
                path,
                inputs=[spec.name for spec in interface.inputs],
                outputs=[spec.name for spec in interface.outputs],
                axes=_axes(interface),
            )
        except OSError:
            raise
        except Exception as error:  # torch.onnx's errors have no common root
            raise invalid(f"the model cannot be exported to ONNX: {cause_of(error)}") from error


def _axes(interface: Interface) -> dict[str, dict[int, str]]:
    first = int(interface.max_batch_size > 0)
    axes: dict[str, dict[int, str]] = {}
    for spec in (*interface.inputs, *interface.outputs):
        variable = {first + index: f"{spec.name}_{index}" for index, size in enumerate(spec.dims) if size == -1}
        axes[spec.name] = {**({0: "rows"} if first else {}), **variable}
    return {name: dims for name, dims in axes.items() if dims}


def export_torch(module: Any, example: Arrays, path: Path, precision: str) -> None:
    """Trace `module` to a TorchScript file that computes in `precision` and returns floats as FP32."""
    import torch

    with torch.inference_mode():
        wrapped = _rounded(module, getattr(torch, TORCH_DTYPES[precision])) if precision != "fp32" else module
        try:
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                wrapped, _tensors(example), check_trace=False
            )
            torch.jit.save(torch.jit.freeze(traced.eval()), str(path))
        except OSError:
            raise
        except Exception as error:  # the tracer passes on the errors of the module
            raise invalid(f"the model cannot be traced to TorchScript: {cause_of(error)}") from error


def _rounded(module: Any, dtype: Any) -> Any:
    """Return a copy of a module that computes in another floating-point type and returns FP32."""
    import torch

    class Rounded(torch.nn.Module):
        """The module between two casts."""

        def __init__(self) -> None:
            super().__init__()
            self.module = copy.deepcopy(module).to(dtype)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            cast = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in inputs]
            answer = self.module(*cast)
            answers = answer if isinstance(answer, tuple) else (answer,)
            return tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in answers)

    return Rounded().eval()


def _tensors(example: Arrays) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(array) for array in example.values())
