"""Cut the token ids of a request to their lengths and check them against the vocabulary and the prompt tables.

Virtual tokens (p-tuning) are ids from `prompt_learning_start_id` on. They are rows of a prompt table, from the
checkpoint or from the request. Source: FasterTransformer `docs/t5_guide.md`, `docs/gpt_guide.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.backends.fastertransformer.arguments import Arguments
from slipway.transformer.spec import Transformer

_PROMPT_TUNING = 3  # request_prompt_type: 0 none, 1 soft, 2 prefix, 3 p/prompt-tuning


@dataclass(frozen=True, slots=True)
class PromptTables:
    """The prompt table of each row: a stored one by its index, one from the request, or none."""

    tasks: Sequence[int | None]
    tables: Sequence[np.ndarray | None]  # float32 [rows, hidden]

    def virtual_tokens(self, row: int, spec: Transformer) -> int:
        """Return how many virtual tokens a row's table has."""
        table, task = self.tables[row], self.tasks[row]
        if table is not None:
            return len(table)
        return 0 if task is None else spec.prompts[task][1]


def read_lengths(arguments: Arguments, name: str, columns: int, limit: int) -> list[int]:
    """Return the length of each row; record and clip lengths outside 1 to `columns`."""
    lengths = arguments.whole(name, columns)
    for row, length in enumerate(lengths):
        if not 1 <= length <= columns:
            arguments.refuse(name, f"is {length}, expected 1 to {columns}, the columns of the input", row)
        elif length > limit:
            arguments.refuse(name, f"is {length}, at most {limit} tokens are allowed (MAX_INPUT_LEN, positions)", row)
    return lengths


def read_prompts(arguments: Arguments, spec: Transformer) -> PromptTables:
    """Return the prompt tables that the request names or contains."""
    tasks: list[int | None] = [None] * arguments.rows
    tables: list[np.ndarray | None] = [None] * arguments.rows
    if "prompt_learning_task_name_ids" in arguments:
        tasks = list(_stored(arguments, spec))
    if "request_prompt_embedding" in arguments or "request_prompt_lengths" in arguments:
        tables = list(_brought(arguments, spec))
    return PromptTables(tasks, tables)


def _stored(arguments: Arguments, spec: Transformer) -> list[int | None]:
    name, count = "prompt_learning_task_name_ids", len(spec.prompts)
    found: list[int | None] = []
    for row, task in enumerate(arguments.whole(name, 0)):
        if count == 0:
            arguments.refuse(name, "is given, but the checkpoint has no prompt tables", row)
        elif task >= count:
            known = ", ".join(f"{index} {task_name}" for index, (task_name, _) in enumerate(spec.prompts))
            arguments.refuse(name, f"is {task}, expected one of the tasks 0 to {count - 1} ({known})", row)
        else:
            found.append(task)
            continue
        found.append(None)
    return found


def _brought(arguments: Arguments, spec: Transformer) -> list[np.ndarray | None]:
    name, hidden = "request_prompt_embedding", spec.input_stack.hidden
    none: list[np.ndarray | None] = [None] * arguments.rows
    embedding = arguments.array(name)
    if embedding is None or "request_prompt_lengths" not in arguments:
        arguments.refuse(name, "and 'request_prompt_lengths' must be sent together; one of them is missing")
        return none
    if arguments.first("request_prompt_type", _PROMPT_TUNING) not in (0, _PROMPT_TUNING):
        arguments.refuse("request_prompt_type", "must be 3 (p-tuning): soft and prefix prompts are not supported")
        return none
    if embedding.ndim == 2:
        embedding = embedding[None]
    if embedding.ndim != 3 or embedding.shape[::2] != (arguments.rows, hidden):
        arguments.refuse(name, f"has shape {list(embedding.shape)}, expected [{arguments.rows}, tokens, {hidden}]")
        return none
    if not np.isfinite(embedding).all():
        arguments.refuse(name, "has values that are not finite numbers")
        return none
    tables = none
    for row, length in enumerate(arguments.whole("request_prompt_lengths", 0)):
        if length > embedding.shape[1]:
            arguments.refuse("request_prompt_lengths", f"is {length} of {embedding.shape[1]} rows", row)
        elif length:
            tables[row] = embedding[row, :length].astype(np.float32)
    return tables


def read_adapter_tasks(arguments: Arguments, spec: Transformer) -> list[int | None]:
    """Return the IA3 task of each row, None if the request names none."""
    name, count = "ia3_tasks", spec.input_stack.adapter_tasks
    if name not in arguments:
        return [None] * arguments.rows
    tasks = arguments.whole(name, 0)
    for row, task in enumerate(tasks):
        if count == 0:
            arguments.refuse(name, "is given, but the checkpoint has no IA3 tasks", row)
        elif not 0 <= task < count:
            arguments.refuse(name, f"is {task}, expected one of the tasks 0 to {count - 1}", row)
    return list(tasks)


def check_ids(
    arguments: Arguments, name: str, rows: Sequence[np.ndarray], prompts: PromptTables, spec: Transformer
) -> None:
    """Record every row with an id that is neither in the vocabulary nor a virtual token of the row's prompt table."""
    vocabulary = spec.input_stack.vocabulary
    for row, ids in enumerate(rows):
        problem = _wrong_id(ids, vocabulary, spec.prompt_start_id, prompts.virtual_tokens(row, spec))
        if problem:
            arguments.refuse(name, problem, row)


def _wrong_id(ids: np.ndarray, vocabulary: int, start: int, virtual: int) -> str:
    """Return what is wrong with the first bad id, "" if there is none."""
    known = (ids >= 0) & (ids < vocabulary)
    if virtual:
        known = np.where(ids >= start, ids < start + virtual, known)
    if known.all():
        return ""
    wrong = int(ids[~known][0])
    if virtual and wrong >= start:
        return f"contains the virtual token {wrong}, the row's prompt has {start} to {start + virtual - 1}"
    if start and wrong >= start:
        return (
            f"contains {wrong}, a virtual token (prompt_learning_start_id is {start}), but the row has no prompt: send "
            f"prompt_learning_task_name_ids, or request_prompt_embedding with request_prompt_lengths"
        )
    return f"contains the id {wrong}, the vocabulary has {vocabulary} tokens"
