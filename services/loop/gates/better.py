"""Is the challenger better than the champion, on rows that neither was trained on?

Both models judge the same rows, so only the rows on which they disagree tell them apart. Under "equally good" each such
row is a fair coin; the exact one-sided McNemar test asks how often a coin would favour the challenger that much:

    p = P(X >= only_challenger),  X ~ Binomial(only_challenger + only_champion, 1/2)

Source: McNemar, Q. (1947), "Note on the sampling error of the difference between correlated proportions or
percentages", Psychometrika 12(2); exact form: Fagerland, Lydersen and Laake (2013), BMC Med. Res. Methodology 13:91.
"""

from math import comb

from schemas.events import Comparison
from services.loop.gates import Verdict


def exact_mcnemar(only_challenger: int, only_champion: int) -> float:
    """The one-sided p-value, exact, in integers (no rounding for any count). O(n) additions.

    >>> round(exact_mcnemar(8, 2), 6)
    0.054688
    >>> exact_mcnemar(0, 0)
    1.0
    """
    n = only_challenger + only_champion
    term = comb(n, only_challenger)
    tail = 0
    for k in range(only_challenger, n + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return tail / (1 << n)


def judge(comparison: Comparison, *, alpha: float, min_gain: float) -> Verdict:
    """Pass when the challenger is significantly better at level `alpha` and gains at least `min_gain` accuracy."""
    p_value = exact_mcnemar(comparison.only_challenger, comparison.only_champion)
    gain = comparison.challenger_accuracy - comparison.champion_accuracy
    facts = {
        "rows": float(comparison.rows),
        "champion_accuracy": comparison.champion_accuracy,
        "challenger_accuracy": comparison.challenger_accuracy,
        "only_champion": float(comparison.only_champion),
        "only_challenger": float(comparison.only_challenger),
        "p_value": p_value,
        "alpha": alpha,
    }
    words = (
        f"on {comparison.rows} held-out rows the challenger is right in {comparison.challenger_accuracy:.3f}, "
        f"the champion {comparison.champion_version} in {comparison.champion_accuracy:.3f}; of the rows that only one "
        f"got right the challenger got {comparison.only_challenger}, the champion {comparison.only_champion} "
        f"(McNemar p = {p_value:.2g})"
    )
    if p_value > alpha:
        return Verdict(False, f"{words}: not significantly better at level {alpha:g}", facts)
    if gain < min_gain:
        return Verdict(False, f"{words}: gains {gain:.4f}, less than the asked {min_gain:g}", facts)
    return Verdict(True, f"{words}: better", facts)
