"""Statistics of the versions in memory, in the shape of Triton's statistics extension.

Counted since a version was loaded into this replica. Durations are nanoseconds. As in Triton, every request of a batch
counts the whole batch's time, `execution_count` counts runs of the runtime and `inference_count` rows. What each stage
holds is told by `services.serving.measures.StageMeasures`. `success` includes what the cache answered; what a look into
the cache takes is not measured, so its durations are 0.
"""

from typing import Any

from services.serving.measures import StageMeasures
from services.serving.served import ServedVersion


def statistics_of(served: ServedVersion) -> dict[str, Any]:
    """One entry of `model_stats`."""
    measures = served.measures
    stages = measures.stages()
    entry: dict[str, Any] = {
        "name": served.model_id,
        "version": served.version,
        "last_inference": 0 if stages.last_at is None else round(stages.last_at * 1000),
        "inference_count": measures.rows,
        "execution_count": measures.batches,
        "inference_stats": {
            **_inference(stages),
            "cache_hit": {"count": measures.cache_hits, "ns": 0},
            "cache_miss": {"count": measures.cache_misses, "ns": 0},
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": batch.rows,
                "compute_input": _duration(batch.runs, batch.input_seconds),
                "compute_infer": _duration(batch.runs, batch.infer_seconds),
                "compute_output": _duration(batch.runs, batch.output_seconds),
            }
            for batch in stages.by_rows
        ],
        "memory_usage": [],
    }
    if served.memory_bytes is not None:
        entry["memory_usage"] = [{"type": "CPU", "id": 0, "byte_size": served.memory_bytes}]
    return entry


def _inference(stages: StageMeasures) -> dict[str, Any]:
    answered = stages.answered
    return {
        "success": _duration(answered + stages.cached, stages.total_seconds + stages.cached_seconds),
        "fail": _duration(stages.failures, stages.failed_seconds),
        "queue": _duration(answered, stages.queue_seconds),
        "compute_input": _duration(answered, stages.input_seconds),
        "compute_infer": _duration(answered, stages.infer_seconds),
        "compute_output": _duration(answered, stages.output_seconds),
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}
