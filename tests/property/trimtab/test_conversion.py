"""A converted model answers as the original does on any row of its features' kinds, not only on those of the sample."""

from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import OneHotEncoder

from tests.unit.trimtab.conversion.converting import Version, version_of
from tests.unit.trimtab.conversion.people import people, wealth
from tests.unit.trimtab.conversion.test_sklearn import prepared
from trimtab.conversion.proof import PROBABILITY_TOLERANCE

FINALS: dict[str, Any] = {
    "logistic regression": LogisticRegression(),
    "network": MLPClassifier((8,), max_iter=500, tol=1e-2, random_state=0),
    "forest": RandomForestClassifier(10, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=10, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "xgboost": xgboost.XGBClassifier(n_estimators=10),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=10, verbose=-1),
}

AGES = st.one_of(st.none(), st.integers(-1000, 2000).map(lambda tenths: tenths / 10), st.floats(-1e6, 1e6))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "age (years)": AGES,
            "visits": st.integers(-5, 50),
            "member": st.booleans(),
            "city": st.sampled_from(["Oslo", "Lima", "Pune", "Atlantis", ""]),
            "plan": st.sampled_from(["basic", "plus", None]),
        }
    ),
    min_size=1,
    max_size=20,
)


@cache
def pair(name: str) -> tuple[Any, Version]:
    """A fitted pipeline and what was made of it."""
    model = prepared(FINALS[name], OneHotEncoder(handle_unknown="ignore", sparse_output=False))
    model.fit(people(), (wealth(people()) == "rich").astype(int))
    return model, version_of(model, people(200, seed=1))


def as_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows in the types of `people`."""
    return pd.DataFrame(rows).astype(people(1).dtypes)


@pytest.mark.parametrize("name", FINALS)
@settings(max_examples=40)
@given(rows=ROWS)
def test_any_row_is_answered_as_by_the_original(name: str, rows: list[dict[str, Any]]) -> None:
    model, version = pair(name)
    frame = as_frame(rows)
    assert np.abs(version.ask(frame) - model.predict_proba(frame)).max() <= PROBABILITY_TOLERANCE


@settings(max_examples=40)
@given(rows=ROWS)
def test_a_row_is_answered_alike_alone_and_in_a_batch(rows: list[dict[str, Any]]) -> None:
    _, version = pair("forest")
    frame = as_frame(rows)
    alone = np.concatenate([version.ask(frame.iloc[[place]]) for place in range(len(frame))])
    assert np.allclose(alone, version.ask(frame), atol=1e-6)
