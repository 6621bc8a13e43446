"""Rows about nobody: numbers with gaps, whole numbers, booleans, strings with gaps; and three truths about them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def people(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """A DataFrame with columns of every kind."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age (years)": random.normal(40, 12, rows).round(1),
            "visits": random.integers(0, 9, rows),
            "member": random.random(rows) < 0.5,
            "city": random.choice(["Oslo", "Lima", "Pune"], rows),
            "plan": random.choice(np.array(["basic", "plus", None], dtype=object), rows),
        }
    )
    frame.loc[frame.index % 7 == 0, "age (years)"] = np.nan
    return frame


def income(frame: pd.DataFrame) -> NDArray[np.float64]:
    """A number that follows from the row."""
    age = frame["age (years)"].fillna(30.0).to_numpy()
    bonus = 20.0 * frame["member"].to_numpy() + 9.0 * (frame["city"] == "Lima").to_numpy()
    return np.asarray(1000.0 + 3 * age + 10 * frame["visits"].to_numpy() + bonus, np.float64)


def wealth(frame: pd.DataFrame, classes: int = 2) -> NDArray[np.str_]:
    """A class that follows from the row: poor, rich, or between."""
    cuts = np.quantile(income(frame), [0.5] if classes == 2 else [0.33, 0.66])
    names = np.array(["poor", "rich"] if classes == 2 else ["poor", "middling", "rich"])
    return names[np.digitize(income(frame), cuts)]
