"""Draws the loss of a training from its TensorBoard event files: python plot_loss.py OUTPUT_DIR PICTURE.svg

The same curves, and more, are shown by `tensorboard --logdir OUTPUT_DIR`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from math import floor, log10
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Curve = Sequence[tuple[float, float]]  # steps and values, ascending steps
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 36, 44
COLOURS = {"training": "#1f6fb4", "dev": "#d1581f"}


def main() -> None:
    """Read the curves and write the picture."""
    parser = argparse.ArgumentParser(description="Draw the loss of a training.")
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    curves = {
        name: points
        for name, folder in (("training", options.output_dir), ("dev", options.output_dir / "eval"))
        if (points := read_curve(folder, "loss"))
    }
    if not curves:
        raise SystemExit(f"error: '{options.output_dir}' does not have event files with a loss")
    options.picture.write_text(draw(curves), encoding="utf-8")
    ends = ", ".join(f"{name} {points[-1][1]:.3f} after {points[-1][0]:.0f} steps" for name, points in curves.items())
    print(f"loss: {ends}: {options.picture}")


def read_curve(folder: Path, tag: str) -> Curve:
    """Return the points of a curve in the event files of a folder; none if it has none."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    if not folder.is_dir():
        return []
    events.Reload()
    if tag not in events.Tags()["scalars"]:
        return []
    return sorted({event.step: event.value for event in events.Scalars(tag)}.items())


def draw(curves: dict[str, Curve]) -> str:
    """Return an SVG picture of the curves, with axes that begin at 0."""
    right = max(points[-1][0] for points in curves.values()) or 1
    top = max(value for points in curves.values() for _, value in points) or 1

    def place(step: float, value: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * step / right
        return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    parts = [head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for value in ticks(top):
        x, y = place(0, value)
        parts.append(f'<path d="M{x} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end" font-size="12">{value:g}</text>')
    for step in ticks(right):
        x, y = place(step, 0)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle" font-size="12">{step:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end" font-size="12">steps</text>')
    for number, (name, points) in enumerate(curves.items()):
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
        colour = COLOURS[name]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + 110 * number}" y="20" fill="{colour}" font-size="12">loss ({name})</text>')
    return "\n".join([*parts, "</svg>\n"])


def ticks(end: float) -> Iterable[float]:
    """Return round values from 0 to `end`, four to nine of them."""
    step = 10.0 ** floor(log10(end))
    step *= next(part for part in (0.2, 0.25, 0.5, 1, 2) if end / (step * part) <= 9)
    return (number * step for number in range(floor(end / step * (1 + 1e-9)) + 1))


if __name__ == "__main__":
    main()
