"""tensor2tensor's transformer computed in float64 with NumPy alone from arrays under its own names, to compare with.

One row, without batches, caches or padding. Written from the specification of the model, not from our network.
"""

import re
from functools import partial

import numpy as np


class Reference:
    def __init__(self, arrays, *, heads, pre_norm=True, epsilon=1e-6):
        self.arrays = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        self.heads, self.pre_norm, self.epsilon = heads, pre_norm, epsilon

    def table(self, kind):
        names = {}
        for name in self.arrays:
            match = re.fullmatch(rf"transformer/symbol_modality_\d+_\d+/({kind}|shared)/weights_(\d+)", name)
            if match:
                names[int(match[2])] = name
        return np.concatenate([self.arrays[names[i]] for i in range(len(names))])

    def embed(self, kind, ids):
        table = self.table(kind)
        x = table[ids] * np.sqrt(table.shape[1])
        x[np.asarray(ids) == 0] = 0
        return x

    def timing(self, length, depth):
        half = depth // 2
        scales = 1e4 ** (-np.arange(half) / max(half - 1, 1))
        angles = np.outer(np.arange(length), scales)
        return np.hstack([np.sin(angles), np.cos(angles)])

    def norm(self, scope, x):
        scale, bias = (self.arrays[f"{scope}/layer_norm/layer_norm_{part}"] for part in ("scale", "bias"))
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + self.epsilon) * scale + bias

    def block(self, scope, x, f):
        if self.pre_norm:
            return x + f(self.norm(f"{scope}/layer_prepostprocess", x))
        return self.norm(f"{scope}/layer_postprocess", x + f(x))

    def attend(self, scope, queries, keys, mask=None):
        kernels = {part: self.arrays[f"{scope}/multihead_attention/{part}/kernel"] for part in "qkv"}
        q, k, v = queries @ kernels["q"], keys @ kernels["k"], keys @ kernels["v"]
        size = q.shape[1] // self.heads
        outputs = []
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = (q[:, part] * size**-0.5) @ k[:, part].T
            scores = scores if mask is None else scores + mask
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            outputs.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        return np.hstack(outputs) @ self.arrays[f"{scope}/multihead_attention/output_transform/kernel"]

    def attend_self(self, scope, mask, x):
        return self.attend(scope, x, x, mask)

    def feed_forward(self, scope, x):
        first, second = ([self.arrays[f"{scope}/conv{i}/{part}"] for part in ("kernel", "bias")] for i in (1, 2))
        return np.maximum(x @ first[0] + first[1], 0) @ second[0] + second[1]

    def layers(self, stack):
        pattern = rf"transformer/body/{stack}/layer_(\d+)/.*"
        return 1 + max(int(match[1]) for name in self.arrays if (match := re.fullmatch(pattern, name)))

    def stack(self, stack, x, mask=None, memory=None, memory_mask=None):
        for layer in range(self.layers(stack)):
            scope = f"transformer/body/{stack}/layer_{layer}"
            x = self.block(f"{scope}/self_attention", x, partial(self.attend_self, f"{scope}/self_attention", mask))
            if memory is not None:
                cross = f"{scope}/encdec_attention"
                x = self.block(cross, x, partial(self.attend, cross, keys=memory, mask=memory_mask))
            x = self.block(f"{scope}/ffn", x, partial(self.feed_forward, f"{scope}/ffn"))
        return self.norm(f"transformer/body/{stack}/layer_prepostprocess", x) if self.pre_norm else x

    def encode(self, ids):
        x = self.embed("input_emb", ids)
        x = x + self.arrays["transformer/body/target_space_embedding/kernel"][0] + self.timing(*x.shape)
        return self.stack("encoder", x, self.padding_mask(ids))

    def padding_mask(self, ids):
        return np.where(np.asarray(ids) == 0, -1e9, 0.0)[None, :]

    def logits(self, source, target):
        """Return the scores of every step, [len(target) + 1, vocabulary], given the tokens generated so far."""
        x = self.embed("target_emb", [0, *target])
        x = x + self.timing(*x.shape)
        mask = np.triu(np.full((len(x), len(x)), -1e9), 1)
        memory, memory_mask = self.encode(source), self.padding_mask(source)
        return self.stack("decoder", x, mask, memory, memory_mask) @ self.table("softmax").T
