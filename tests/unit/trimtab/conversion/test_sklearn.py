"""scikit-learn estimators and pipelines: the graph answers as the model does, on rows that it has not seen."""

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from schemas.features import DType, OutputRole
from tests.unit.trimtab.conversion.converting import version_of
from tests.unit.trimtab.conversion.people import income, people, wealth
from trimtab.conversion.errors import Different, NotConvertible
from trimtab.conversion.proof import clear_winners

NUMBERS = ["age (years)", "visits"]
CITIES = ["city", "plan"]


def prepared(final: Any, texts: Any = None) -> Pipeline:
    """A pipeline over every column of `people`."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = texts or OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("flags", "passthrough", ["member"]), ("texts", texts, CITIES)]
    )
    return Pipeline([("columns", columns), ("final", final)])


def matrix(rows: int = 300, seed: int = 0) -> Any:
    """Numbers only, float64."""
    return np.random.default_rng(seed).normal(size=(rows, 4))


def sums(rows: Any) -> Any:
    """What the numbers are about."""
    return rows[:, 0] * 3 + rows[:, 1] ** 2


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "final",
    [
        LogisticRegression(),
        RandomForestClassifier(20, random_state=0),
        GradientBoostingClassifier(n_estimators=10, random_state=0),
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        KNeighborsClassifier(),
    ],
    ids=lambda final: type(final).__name__,
)
def test_a_pipeline_over_strings_and_gaps(final: Any, classes: int) -> None:
    dense = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    model = prepared(final, dense).fit(people(), wealth(people(), classes))
    sample = people(200, seed=1)
    version = version_of(model, sample, labels=wealth(sample, classes))

    fresh = people(400, seed=2)
    own = model.predict_proba(fresh)
    assert np.abs(version.ask(fresh) - own).max() < 1e-4
    untied = clear_winners(own)
    assert np.array(version.labels(fresh))[untied].tolist() == model.predict(fresh)[untied].tolist()
    signature = version.signature
    assert signature.classes == tuple(model.classes_)
    assert [feature.name for feature in signature.inputs] == list(sample.columns)
    assert [feature.nullable for feature in signature.inputs] == [True, False, False, False, True]
    assert [feature.dtype for feature in signature.inputs[1:]] == [DType.INT64, DType.BOOL, DType.STRING, DType.STRING]
    assert signature.inputs[3].categories == ("Lima", "Oslo", "Pune")
    assert (signature.inputs[1].minimum, signature.inputs[1].maximum) == (0, 8)
    assert signature.outputs[0].role is OutputRole.PROBABILITIES
    assert version.metadata["metrics"]["accuracy"] == model.score(sample, wealth(sample, classes))


@pytest.mark.parametrize(
    "texts",
    [
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
        make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder()),
        make_pipeline(
            SimpleImputer(strategy="most_frequent"),
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        ),
        OneHotEncoder(drop="first"),
    ],
    ids=["most frequent", "constant", "ordinal", "a category of its own"],
)
@pytest.mark.parametrize("final", [LogisticRegression(), RandomForestClassifier(10, random_state=0)], ids=["lr", "rf"])
def test_a_missing_string_is_imputed_in_the_graph(texts: Any, final: Any) -> None:
    model = prepared(final, texts).fit(people(), wealth(people()))
    fresh = people(300, seed=3)
    version = version_of(model, people(200, seed=1))
    assert np.abs(version.ask(fresh) - model.predict_proba(fresh)).max() < 1e-4
    assert model.predict(fresh).tolist() == version.labels(fresh)


def test_a_category_may_be_the_empty_string() -> None:
    frame = people()
    frame["plan"] = frame["plan"].where(frame.index % 5 != 0, "")
    model = prepared(LogisticRegression()).fit(frame, wealth(frame))
    version = version_of(model, frame)
    assert version.signature.inputs[4].filler == "(missing)"
    assert version.labels(frame) == model.predict(frame).tolist()


def test_a_category_that_was_not_fitted_is_answered() -> None:
    model = prepared(LogisticRegression(), OneHotEncoder()).fit(people(), wealth(people()))
    forgiving = prepared(LogisticRegression(), OneHotEncoder(handle_unknown="ignore")).fit(people(), wealth(people()))
    strange = people(20, seed=4)
    strange["city"] = "Atlantis"
    version = version_of(model, people(100, seed=1))
    assert version.labels(strange) == forgiving.predict(strange).tolist()


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        DecisionTreeClassifier(max_depth=5),
        ExtraTreesClassifier(10),
        GaussianNB(),
        CalibratedClassifierCV(LinearSVC(), cv=3),
        VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=3))], voting="soft"),
        StackingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]),
        make_pipeline(StandardScaler(), RandomForestClassifier(20)),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_classifier_over_a_matrix(model: Any) -> None:
    truth = np.digitize(sums(matrix()), [0, 3])
    model.fit(matrix(), truth)
    version = version_of(model, matrix(100, seed=1))
    fresh = matrix(200, seed=2)
    own = model.predict_proba(fresh)
    assert np.abs(version.ask(fresh) - own).max() < 1e-4
    assert version.labels(fresh) == [str(label) for label in model.predict(fresh)]
    assert [feature.name for feature in version.signature.inputs] == ["f0", "f1", "f2", "f3"]
    assert version.signature.classes == ("0", "1", "2")


@pytest.mark.parametrize("truth", ["numbers", "texts", "booleans", "floats"])
@pytest.mark.parametrize("model", [SVC(), LinearSVC(), RidgeClassifier()], ids=lambda model: type(model).__name__)
def test_a_classifier_without_probabilities_answers_with_the_label(model: Any, truth: str) -> None:
    codes = (sums(matrix()) > 1).astype(int)
    labels = {
        "numbers": codes + 5,
        "texts": np.array(["cold", "hot"])[codes],
        "booleans": codes.astype(bool),
        "floats": codes.astype(float),
    }
    model.fit(matrix(), labels[truth])
    version = version_of(model, matrix(100, seed=1))
    fresh = matrix(100, seed=2)
    assert version.signature.outputs[0].role is OutputRole.LABEL
    names = {"numbers": ("5", "6"), "texts": ("cold", "hot"), "booleans": ("False", "True"), "floats": ("0", "1")}
    assert version.signature.classes == names[truth]
    wanted = [names[truth][list(model.classes_).index(label)] for label in model.predict(fresh)]
    assert version.labels(fresh) == wanted
    assert version.baseline.feature("prediction").rows == 100


@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_a_model_that_contradicts_its_probabilities_answers_with_the_label() -> None:
    random = np.random.default_rng(0)
    model = SVC(probability=True, random_state=0)
    model.fit(matrix(), (sums(matrix()) + random.normal(0, 6, 300)) > 4)
    fresh = matrix(200, seed=2)
    own = model.predict(fresh)
    assert (own != (model.predict_proba(fresh)[:, 1] > 0.5)).any()
    version = version_of(model, matrix(200, seed=1))
    assert version.signature.outputs[0].role is OutputRole.LABEL
    assert version.labels(fresh) == [str(label) for label in own]


def test_a_graph_that_answers_otherwise_is_not_let_through() -> None:
    model = TunedThresholdClassifierCV(LogisticRegression(), scoring="recall", cv=3, random_state=0)
    model.fit(matrix(), sums(matrix()) > 4)  # skl2onnx 1.20 loses its threshold
    with pytest.raises(Different, match=r"\d+ of 200 rows of the sample another label.*Nothing was registered"):
        version_of(model, matrix(200, seed=1))


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        Ridge(),
        DecisionTreeRegressor(max_depth=6),
        RandomForestRegressor(20),
        HistGradientBoostingRegressor(max_iter=20),
        make_pipeline(StandardScaler(), RandomForestRegressor(20)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_regression_model(model: Any) -> None:
    model.fit(matrix(), 1000 + 50 * sums(matrix()))
    version = version_of(model, matrix(100, seed=1), labels=1000 + 50 * sums(matrix(100, seed=1)))
    fresh = matrix(200, seed=2)
    assert version.ask(fresh)[:, 0] == pytest.approx(model.predict(fresh), rel=1e-5)
    assert version.signature.classes is None
    assert version.signature.outputs[0].role is OutputRole.VALUE
    assert set(version.metadata["metrics"]) == {"mae", "rmse"}
    assert version.baseline.feature("prediction").column == "y:value"


def test_a_regression_pipeline_over_strings() -> None:
    model = prepared(RandomForestRegressor(20)).fit(people(), income(people()))
    version = version_of(model, people(100, seed=1))
    fresh = people(200, seed=2)
    assert version.ask(fresh)[:, 0] == pytest.approx(model.predict(fresh), rel=1e-5)


def test_thresholds_hold_because_the_preparation_stays_in_float64() -> None:
    frame = people(600)
    model = prepared(RandomForestClassifier(30, random_state=0)).fit(frame, wealth(frame))
    version = version_of(model, frame)
    assert version.signature.inputs[0].dtype is DType.FLOAT64
    assert np.abs(version.ask(frame) - model.predict_proba(frame)).max() < 1e-6


def test_one_row_is_enough() -> None:
    model = LogisticRegression().fit(matrix(), sums(matrix()) > 1)
    version = version_of(model, matrix(1, seed=1))
    assert version.labels(matrix(50, seed=2)) == [str(label) for label in model.predict(matrix(50, seed=2))]
    assert version.baseline.rows == 1


def test_columns_that_the_model_does_not_look_at_are_no_features() -> None:
    frame = people()
    model = prepared(LogisticRegression()).fit(frame, wealth(frame))
    wider = people(100, seed=1).assign(truth=wealth(people(100, seed=1)), note="x")[["note", *frame.columns, "truth"]]
    version = version_of(model, wider)
    assert [feature.name for feature in version.signature.inputs] == list(frame.columns)

    only_numbers = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["visits"])]), LogisticRegression())
    version = version_of(only_numbers.fit(frame, wealth(frame)), frame)
    assert [feature.name for feature in version.signature.inputs] == ["visits"]


def test_names_that_mean_something_elsewhere_are_harmless() -> None:
    frame = people().rename(columns={"age (years)": "probabilities", "visits": "a b", "city": "a_b", "plan": "label"})
    columns = ColumnTransformer(
        [("n", SimpleImputer(), ["probabilities", "a b"]), ("t", OneHotEncoder(), ["a_b", "label"])]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, wealth(people()))
    version = version_of(model, frame)
    assert version.signature.outputs[0].name == "output_probabilities"
    assert np.abs(version.ask(frame) - model.predict_proba(frame)).max() < 1e-4


def test_arrays_are_named_as_the_caller_or_the_model_says() -> None:
    model = LogisticRegression().fit(matrix(), sums(matrix()) > 1)
    named = version_of(model, matrix(20), feature_names=["a", "b", "c", "d"])
    assert [feature.name for feature in named.signature.inputs] == ["a", "b", "c", "d"]
    frame = people()[NUMBERS].fillna(0.0)
    fitted = LogisticRegression().fit(frame, wealth(people()))
    version = version_of(fitted, frame.to_numpy())
    assert [feature.name for feature in version.signature.inputs] == NUMBERS


def test_the_same_model_gives_the_same_bytes() -> None:
    model = prepared(RandomForestClassifier(5, random_state=0)).fit(people(), wealth(people()))
    first, second = version_of(model, people(50)), version_of(model, people(50))
    assert first.files == second.files
    assert first.metadata == second.metadata


def test_the_metadata_says_where_it_comes_from() -> None:
    import sklearn

    model = prepared(LogisticRegression(C=0.5)).fit(people(), wealth(people()))
    metadata = version_of(
        model,
        people(50),
        labels=wealth(people(50)),
        metadata={"model_id": "m", "tags": {"team": "blue"}, "metrics": {"auc": 0.9}, "framework": "sklearn"},
    ).metadata
    assert metadata["framework"] == "sklearn"
    assert metadata["tags"] == {"framework_version": sklearn.__version__, "team": "blue"}
    assert metadata["metrics"].keys() == {"auc", "accuracy"}
    assert metadata["hyperparameters"]["final__C"] == 0.5
    assert "columns" not in metadata["hyperparameters"]


def test_the_classes_can_be_called_otherwise() -> None:
    truth = (sums(matrix()) > 1).astype(int)
    model = LogisticRegression().fit(matrix(), truth)
    version = version_of(model, matrix(), labels=truth, classes=["cold", "hot"])
    assert version.signature.classes == ("cold", "hot")
    assert version.metadata["metrics"]["accuracy"] == model.score(matrix(), truth)
    by_name = version_of(model, matrix(), labels=np.array(["cold", "hot"])[truth], classes=["cold", "hot"])
    assert by_name.files == version.files
    swapped = version_of(model, matrix(), classes=[1, 0])
    assert swapped.labels(matrix()) == [str(1 - label) for label in model.predict(matrix())]


def test_the_model_itself_is_left_as_it_was() -> None:
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    model = prepared(LogisticRegression(), texts).fit(people(), wealth(people()))
    before = model.predict_proba(people(50, seed=5))
    imputer = model.named_steps["columns"].named_transformers_["texts"][0]
    version_of(model, people(50))
    assert np.isnan(imputer.missing_values)
    assert (model.predict_proba(people(50, seed=5)) == before).all()


def shifted(rows: Any) -> Any:
    """No converter knows this."""
    return rows + 1


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (make_pipeline(FunctionTransformer(shifted), LogisticRegression()), r"can't be converted to ONNX"),
        (KMeans(2), "neither a classifier nor a regressor"),
        (StandardScaler(), "can't be converted here"),
    ],
)
def test_what_no_converter_knows_is_refused(model: Any, sentence: str) -> None:
    model.fit(matrix(), sums(matrix()) > 1)
    with pytest.raises(NotConvertible, match=sentence):
        version_of(model, matrix(50))
