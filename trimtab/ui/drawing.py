"""Numbers into places in a drawing. The SVG around them is in `templates/svg.html`, escaped like everything else."""

from collections.abc import Sequence


def curve(values: Sequence[float], width: int, height: int) -> str:
    """The points `x,y x,y ...` of a curve from 0 at the bottom to the greatest value at the top, the newest right.

    >>> curve([0.0, 1.0, 2.0], 20, 10)
    '0.0,10.0 10.0,5.0 20.0,0.0'
    """
    if len(values) < 2:
        return ""
    top = max(*values, 1e-9)
    step = width / (len(values) - 1)
    return " ".join(
        f"{number * step:.1f},{height - max(value, 0.0) / top * height:.1f}" for number, value in enumerate(values)
    )


def length(value: float, top: float, width: int) -> float:
    """How far `value` reaches on a scale from 0 to `top` that is `width` long; it never leaves the scale.

    >>> length(0.5, 2.0, 100), length(9.0, 2.0, 100)
    (25.0, 100.0)
    """
    return round(min(max(value, 0.0) / max(top, 1e-9), 1.0) * width, 1)
