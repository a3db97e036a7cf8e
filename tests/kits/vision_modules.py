"""Small networks in the manner of well-known vision models: three channels, 32 x 32 pixels, and any number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE: Final = 32
CLASSES: Final = 5


def unit(into: int, out: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution, its normalisation and its activation."""
    convolution = nn.Conv2d(into, out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU6(inplace=True))


class Plain(nn.Module):
    """AlexNet, VGG: convolutions, adaptive pooling to a grid, linear layers with dropout."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Conv2d(8, 12, 3)
        )
        self.pool = nn.AdaptiveAvgPool2d(3)
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(108, 16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, x):
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


class Residual(nn.Module):
    """ResNet: a strided stem, shortcuts with and without a projection."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = unit(3, 8, 7, 2), unit(8, 8)
        self.narrow = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.project, self.strided = nn.Conv2d(8, 16, 1, 2), nn.Conv2d(8, 16, 3, 2, 1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        x = functional.relu(x + self.narrow(self.wide(x)))
        return self.head((self.project(x) + self.strided(x)).mean([2, 3]))


class Dense(nn.Module):
    """DenseNet: each layer reads all layers before it."""

    def __init__(self):
        super().__init__()
        self.stem = unit(3, 8, stride=2)
        self.layers = nn.ModuleList([unit(8 + 4 * index, 4) for index in range(3)])
        self.head = nn.Linear(20, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(functional.adaptive_avg_pool2d(functional.avg_pool2d(x, 2), 1).flatten(1))


class Inverted(nn.Module):
    """MobileNet, EfficientNet: depthwise convolutions, squeeze and excitation, hard activations."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand, self.depth = unit(3, 8, stride=2), unit(8, 16, 1), unit(16, 16, 5, groups=16)
        self.squeeze, self.excite, self.project = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        y = self.depth(self.expand(x))
        scale = self.excite(functional.silu(self.squeeze(functional.adaptive_avg_pool2d(y, 1))))
        return self.head(functional.hardswish(x + self.project(y * functional.hardsigmoid(scale))).mean((2, 3)))


class Shuffled(nn.Module):
    """ShuffleNet: grouped convolutions between which channels change places."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped, self.depth = unit(3, 16, stride=2), unit(16, 16, 1, groups=4), unit(8, 8, groups=8)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.grouped(self.stem(x))
        rows, channels, height, width = x.shape
        x = x.view(rows, 4, channels // 4, height, width).transpose(1, 2).reshape(rows, channels, height, width)
        left, right = x.chunk(2, 1)
        return self.head(functional.adaptive_max_pool2d(torch.cat([left, self.depth(right)], 1), 1).flatten(1))


class Scaled(nn.Module):
    """ConvNeXt: large depthwise kernels, norms over the channels, a scale for each channel of a layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.depth, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8, eps=1e-6)
        self.up, self.down, self.scale = nn.Linear(8, 32), nn.Linear(32, 8), nn.Parameter(torch.full((8,), 0.5))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.first(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.down(functional.gelu(self.up(y))) * self.scale
        return self.head((x + y.permute(0, 3, 1, 2)).mean([-2, -1]))


class Patches(nn.Module):
    """ViT: patches after a class token, learned positions, attention over all of them."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(3, 16, 8, 8)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, CLASSES)

    def forward(self, x):
        patches = self.cut(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.places
        return self.head(self.body(tokens)[:, 0])


class Windows(nn.Module):
    """Swin: attention in shifted windows with a bias, patches that are merged."""

    def __init__(self):
        super().__init__()
        self.cut, self.project, self.merge = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48), nn.Linear(64, 16)
        self.bias, self.head = nn.Parameter(torch.randn(4, 16, 16)), nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.cut(x).permute(0, 2, 3, 1)
        rows, height, width, channels = x.shape
        x = torch.roll(x, (-2, -2), (1, 2))
        y = x.view(rows, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, channels)
        query, key, value = self.project(y).reshape(-1, 16, 3, 4, channels // 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        y = y.transpose(1, 2).reshape(rows, height // 4, width // 4, 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x + y.reshape(rows, height, width, channels), (2, 2), (1, 2))
        quarters = [x[:, down::2, right::2] for right in (0, 1) for down in (0, 1)]
        return self.head(self.merge(torch.cat(quarters, -1)).mean((1, 2)))


class Segments(nn.Module):
    """DeepLab, U-Net: dilated and transposed convolutions, interpolation to the size of another tensor; a dict."""

    def __init__(self):
        super().__init__()
        self.first, self.dilated = unit(3, 8, stride=2), nn.Conv2d(8, 12, 3, 2, 2, dilation=2)
        self.pool, self.up, self.head = nn.Conv2d(12, 12, 1), nn.ConvTranspose2d(24, 8, 2, 2), nn.Conv2d(16, 4, 1)

    def forward(self, x):
        first = self.first(x)
        second = functional.relu(self.dilated(first))
        whole = resized(self.pool(functional.adaptive_avg_pool2d(second, 1)), second, "bilinear")
        y = resized(self.up(torch.cat([second, whole], 1)), first, "nearest")
        return {"out": resized(self.head(torch.cat([first, y], 1)), x, "bilinear"), "aux": second}


class Pyramid(nn.Module):
    """RetinaNet, SSD: boxes and classes of two grids, one after the other; two outputs."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse, self.top = unit(3, 8, stride=4), unit(8, 8, stride=2), nn.Conv2d(8, 8, 1)
        self.boxes, self.classes = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        grids = (fine + functional.interpolate(self.top(coarse), scale_factor=2.0, mode="nearest"), coarse)
        boxes = torch.cat([self.boxes(grid).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for grid in grids], 1)
        classes = torch.cat([self.classes(grid).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 3) for grid in grids], 1)
        return boxes, classes.softmax(-1)


class Sharper(nn.Module):
    """ResNeXt, ESRGAN: grouped convolutions, group and instance norms, reflected edges, pixel shuffle."""

    def __init__(self):
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.norm, self.own = nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)
        self.activation, self.last = nn.PReLU(16), nn.Conv2d(16, 12, 3)

    def forward(self, x):
        y = self.activation(self.norm(self.grouped(self.first(x))))
        y = self.own(functional.pad(y, (1, 1, 1, 1), mode="reflect"))
        return functional.pixel_shuffle(self.last(y), 2).clamp(0, 1)


def resized(x: Tensor, like: Tensor, mode: str) -> Tensor:
    """Return `x` in the height and width of `like`."""
    return functional.interpolate(x, size=like.shape[-2:], mode=mode)


VISION: Final[dict[str, Callable[[], nn.Module]]] = {
    "plain": Plain,
    "residual": Residual,
    "dense": Dense,
    "inverted": Inverted,
    "shuffled": Shuffled,
    "scaled": Scaled,
    "patches": Patches,
    "windows": Windows,
    "segments": Segments,
    "pyramid": Pyramid,
    "sharper": Sharper,
}


def write_program(path, name: str) -> nn.Module:
    """Write a network as a torch.export file with any number of rows; return it."""
    torch.manual_seed(0)
    network = VISION[name]().eval()
    rows = ({0: torch.export.Dim("rows")},)
    program = torch.export.export(network, (torch.zeros(2, 3, SIZE, SIZE),), dynamic_shapes=rows)
    torch.export.save(program, path)
    return network
