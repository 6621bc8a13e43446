"""Write the golden file of every message and edition that has none. A file that is there is never written again.

python -m tests.golden.write
"""

import json
from datetime import datetime
from pathlib import Path

from schemas.base import Message
from schemas.codec import encode
from schemas.envelope import JSON, Envelope, to_headers
from schemas.topics import topic_of
from tests.golden.samples import NOON, SAMPLES, golden_name

MESSAGES = Path(__file__).parent / "messages"


def envelope(message: Message, time: datetime = NOON) -> Envelope:
    """Every attribute filled in."""
    return Envelope(
        id="0b0c3b8e-7d5f-4f6e-9a57-2f4f9d3c1a11",
        source="/trimtab/golden",
        type=message.TYPE,
        time=time,
        subject=message.key,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        revision=7,
        causation_id="c-1",
        correlation_id="c-0",
        content_type=encode(message)[0],
    )


def main() -> None:
    """Write what is missing."""
    MESSAGES.mkdir(exist_ok=True)
    for message in SAMPLES:
        path = MESSAGES / f"{golden_name(message)}.json"
        if path.exists():
            continue
        content_type, body = encode(message)
        record: dict[str, object] = {
            "topic": topic_of(type(message)).name,
            "key": message.key,
            "headers": {name: value.decode() for name, value in to_headers(envelope(message))},
        }
        if content_type == JSON:
            record["body"] = json.loads(body)
        else:
            path.with_name(f"{path.stem}.arrow").write_bytes(body)
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
