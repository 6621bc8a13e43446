"""`trimtab predict --file` shows the probability of the predicted class, and none for a number."""

from rich.console import Console

from trimtab.cli.predict import _draw_file


def test_the_table_shows_the_surest_class() -> None:
    answers = [
        {"prediction": "dos", "probabilities": {"dos": 0.75, "u2r": 0.25}, "version": "1.0.1", "prediction_id": "a-1"},
        {"prediction": 3.5, "probabilities": None, "version": "1.0.1", "prediction_id": "a-2"},
    ]
    console = Console(width=120)
    with console.capture() as captured:
        _draw_file(console, {"rows": 2, "predictions": answers, "model_id": "m"})
    lines = captured.get().splitlines()
    (first,) = [line for line in lines if "a-1" in line]
    assert "0.75" in first
    (second,) = [line for line in lines if "a-2" in line]
    assert "3.5" in second
