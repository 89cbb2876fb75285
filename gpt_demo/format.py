"""One way to write numbers, everywhere."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

DASH = "\N{EN DASH}"  # where there is no number


def count(value: float) -> str:
    """12,345 as it is, 1.2 million and more shortened."""
    if value < 1e6:
        return f"{value:,.0f}"
    return f"{value / 1e6:,.1f} million" if value < 1e9 else f"{value / 1e9:,.2f} billion"


def size(value: float) -> str:
    """Bytes as MB or GB (powers of ten)."""
    if value >= 0.95e9:
        return f"{value / 1e9:,.1f} GB"
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """8 s, 1 min 20 s, 2 h 5 min."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def number(value: float | None, digits: int = 2) -> str:
    """A loss or a perplexity; an en dash where there is none. Ties go away from 0, and there is no "-0.00"; the same,
    character by character, as number() of assets/page/numbers.js."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = Decimal(abs(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, Context(prec=400))
    return ("\N{MINUS SIGN}" if value < 0 and rounded else "") + f"{rounded:,.{digits}f}"


def compact(value: float | None) -> str:
    """Short, for the ticks and marks of a chart: 12345 -> "12k", 3.2149 -> "3.21", NaN -> an en dash."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 9999.5:
        unit, scale = ("G", 1e9) if size >= 999.5e6 else ("M", 1e6) if size >= 999.5e3 else ("k", 1e3)
        return f"{value / scale:.{1 if size / scale < 9.95 else 0}f}{unit}"
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.0995:
        return f"{value:.2f}"
    if size >= 0.000995:
        return f"{value:.{1 - math.floor(math.log10(size))}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
