"""A Faust consumer of Trimtab's drift signals: one line for every signal, told apart by its CloudEvents type.

    BROKER=kafka://127.0.0.1:19092 python drift_alarm.py worker --without-web

The topic carries several message types; the header `ce_type` says which one a record is, its body is plain JSON in
snake_case (`trimtab schemas export DIR` writes the JSON Schema of each). Nothing of Trimtab is imported here.
"""

import json
import os
import sys
from typing import Any

import faust

app = faust.App(
    os.environ.get("GROUP", "drift-alarm"),
    broker=os.environ.get("BROKER", "kafka://127.0.0.1:19092"),
    store="memory://",
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
signals = app.topic(os.environ.get("TOPIC", "drift-signals"), value_type=bytes, value_serializer="raw")


def sentence(kind: str, body: dict[str, Any]) -> str:
    """What a person would want to read about the signal."""
    model = f"{body['model_id']} {body['version']}"
    if kind == "trimtab.drift.found.v1":
        drifted = [f["feature"] for f in body["features"] if f["drifted"]]
        return f"DRIFT {body['state']} in {model}: {', '.join(drifted)} ({body['window']['rows']} rows)"
    if kind == "trimtab.performance.worse.v1":
        return f"WORSE {model}: {body['metric']} {body['value']:.3f}, was {body['baseline_value']:.3f}"
    return f"{kind} {model}: {body['explanation']}"


@app.agent(signals)
async def alarm(stream: faust.StreamT[bytes]) -> None:
    """Print one line a signal."""
    async for event in stream.events():
        headers = dict(event.headers)
        kind = headers.get("ce_type", b"trimtab.drift.found.v1").decode()
        print(sentence(kind, json.loads(event.value)), flush=True)


if __name__ == "__main__":
    sys.exit(app.main())
