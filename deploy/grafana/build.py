"""The Grafana dashboard as code: writes dashboards/trimtab.json.

python deploy/grafana/build.py
"""

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "dashboards" / "trimtab.json"
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT = 8, 8
MODEL = '{model=~"$model"}'

Panel = tuple[str, str, list[tuple[str, str]]]
"""Title, unit, and the curves: (PromQL, legend)."""

ROWS: list[tuple[str, list[Panel]]] = [
    (
        "Predictions",
        [
            (
                "Predictions a second",
                "reqps",
                [
                    (
                        f"sum by (model, version) (rate(ml_predictions_total{MODEL}[$__rate_interval]))",
                        "{{model}} {{version}}",
                    )
                ],
            ),
            (
                "Latency",
                "s",
                [
                    (
                        f"histogram_quantile({quantile}, sum by (model, le) "
                        f"(rate(ml_prediction_latency_seconds_bucket{MODEL}[$__rate_interval])))",
                        f"{{{{model}}}} {name}",
                    )
                    for quantile, name in ((0.5, "p50"), (0.99, "p99"))
                ],
            ),
            (
                "Failures a second, by code",
                "reqps",
                [
                    (
                        f"sum by (model, code) (rate(ml_prediction_errors_total{MODEL}[$__rate_interval]))",
                        "{{model}} {{code}}",
                    )
                ],
            ),
            (
                "Rows that wait for the runtime",
                "short",
                [(f"sum by (model, version) (ml_queue_rows{MODEL})", "{{model}} {{version}}")],
            ),
            (
                "Prediction log on disk",
                "bytes",
                [
                    ("sum by (instance) (ml_prediction_log_bytes)", "used {{instance}}"),
                    ("sum by (instance) (ml_prediction_log_limit_bytes)", "budget {{instance}}"),
                ],
            ),
            (
                "Memory of loaded models",
                "bytes",
                [(f"sum by (model, version) (ml_model_memory_usage_bytes{MODEL})", "{{model}} {{version}}")],
            ),
        ],
    ),
    (
        "Drift and accuracy",
        [
            (
                "Drift score, the ten highest features",
                "short",
                [
                    (
                        f"topk(10, max by (model, version, feature, method) (ml_feature_drift_score{MODEL}))",
                        "{{feature}} {{method}} ({{model}} {{version}})",
                    )
                ],
            ),
            (
                "Accuracy on labels",
                "percentunit",
                [(f"max by (model, version) (trimtab_model_accuracy{MODEL})", "{{model}} {{version}}")],
            ),
            (
                "Rows counted a second",
                "short",
                [(f"sum by (model) (rate(trimtab_monitor_rows_total{MODEL}[$__rate_interval]))", "{{model}}")],
            ),
            (
                "Rows that did not count",
                "short",
                [
                    (
                        f"sum by (model) (increase(trimtab_monitor_missing_rows_total{MODEL}[$__range]))",
                        "never came {{model}}",
                    ),
                    (f"sum by (model) (increase(trimtab_monitor_shed_rows_total{MODEL}[$__range]))", "shed {{model}}"),
                    (
                        f"sum by (model) (increase(trimtab_monitor_repeated_rows_total{MODEL}[$__range]))",
                        "repeated {{model}}",
                    ),
                    (
                        f"sum by (model) (increase(trimtab_monitor_skewed_values_total{MODEL}[$__range]))",
                        "skewed {{model}}",
                    ),
                ],
            ),
            (
                "Labels joined a second",
                "short",
                [(f"sum by (model) (rate(trimtab_monitor_labels_joined_total{MODEL}[$__rate_interval]))", "{{model}}")],
            ),
            (
                "Training",
                "short",
                [
                    ("sum(trimtab_trainer_running_jobs)", "running"),
                    ("sum by (state) (increase(trimtab_trainer_jobs_total[$__range]))", "{{state}}"),
                ],
            ),
        ],
    ),
    (
        "Bus and processes",
        [
            ("Records behind", "short", [("sum by (group, topic) (trimtab_bus_lag_records)", "{{group}} {{topic}}")]),
            (
                "Handled a second",
                "short",
                [
                    (
                        "sum by (handler, outcome) (rate(trimtab_bus_handled_total[$__rate_interval]))",
                        "{{handler}} {{outcome}}",
                    )
                ],
            ),
            (
                "Dead letters",
                "short",
                [
                    (
                        "sum by (group, topic) (increase(trimtab_bus_dead_letters_total[$__range]))",
                        "{{group}} {{topic}}",
                    ),
                    ("sum by (reason) (increase(trimtab_monitor_dead_letters_total[$__range]))", "monitor {{reason}}"),
                    ("sum by (group, topic) (trimtab_bus_partition_stopped)", "stopped {{group}} {{topic}}"),
                ],
            ),
            ("Oldest event in the outbox", "s", [("max by (service) (trimtab_outbox_oldest_seconds)", "{{service}}")]),
            (
                "CPU of the machine",
                "percent",
                [("max by (instance) (ml_system_cpu_usage_percent)", "{{instance}}")],
            ),
            ("Resident memory", "bytes", [("sum by (service) (process_resident_memory_bytes)", "{{service}}")]),
        ],
    ),
]


def dashboard() -> dict[str, Any]:
    """The dashboard's JSON model."""
    panels: list[dict[str, Any]] = []
    top = 0
    for name, row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": name,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": top},
                "panels": [],
            }
        )
        top += 1
        for place, panel in enumerate(row):
            across, down = place % 3, place // 3
            panels.append(_panel(len(panels) + 1, panel, WIDTH * across, top + HEIGHT * down))
        top += HEIGHT * -(-len(row) // 3)
    return {
        "uid": "trimtab",
        "title": "Trimtab",
        "description": "Written by deploy/grafana/build.py.",
        "tags": ["trimtab"],
        "schemaVersion": 41,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_model_variable()]},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    title, unit, curves = panel
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": PROMETHEUS,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": left, "y": top},
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": PROMETHEUS, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(curves)
        ],
    }


def _model_variable() -> dict[str, Any]:
    query = "label_values(ml_predictions_total, model)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": PROMETHEUS,
        "definition": query,
        "query": {"query": query, "refId": "model"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text())
