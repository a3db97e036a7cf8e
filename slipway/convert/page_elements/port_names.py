"""The names of an ONNX file's input and output: clients of page-element models expect those of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def can_rename(path: Path, names: Mapping[str, str]) -> bool:
    """Return whether the new names, the values of `names`, are free in the file."""
    graph = _load(path).graph
    ports = {port.name for port in (*graph.input, *graph.output)}
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    used |= ports | {tensor.name for tensor in graph.initializer}
    return not any(new in used and new != old for old, new in names.items())


def rename_ports(path: Path, names: Mapping[str, str]) -> None:
    """Rename inputs and outputs of the file from the keys of `names` to its values.

    Inside, the old names remain: a node that does nothing, which engines remove, stands between both."""
    import onnx

    model = _load(path)
    graph = model.graph
    before: list[Any] = []
    after: list[Any] = []
    for ports, nodes in ((graph.input, before), (graph.output, after)):
        for port in ports:
            old, new = port.name, names.get(port.name, port.name)
            if old != new:
                ends = (new, old) if nodes is before else (old, new)
                nodes.append(onnx.helper.make_node("Identity", [ends[0]], [ends[1]]))
                port.name = new
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))


def _load(path: Path) -> Any:
    import onnx

    return onnx.load(str(path), load_external_data=False)
