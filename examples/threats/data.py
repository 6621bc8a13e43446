"""NSL-KDD as three files: rows to train on, calm traffic held back from them, and shifted traffic.

`python examples/threats/data.py FOLDER` writes `train.csv`, `calm.csv`, `shifted.csv` and `job.json` there. All files
have the 41 raw features, then `attack` (the label) and `level` (difficulty, never a feature).
"""

import csv
import json
import lzma
import random
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TRAIN = HERE / "KDDTrain+_20Percent.csv.xz"
TEST = HERE / "KDDTest+.csv.xz"
CALM_ROWS = 5_192
NOT_FEATURES = ("attack", "level")


@dataclass(frozen=True)
class Files:
    """Where `prepare` put things."""

    train: Path
    calm: Path
    shifted: Path
    job: Path


def prepare(folder: Path, seed: int = 0) -> Files:
    """Write the three parts and the training job into `folder`. The same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    header, rows = _read(TRAIN)
    random.Random(seed).shuffle(rows)
    files = Files(folder / "train.csv", folder / "calm.csv", folder / "shifted.csv", folder / "job.json")
    _write(files.train, header, rows[CALM_ROWS:])
    _write(files.calm, header, rows[:CALM_ROWS])
    header, rows = _read(TEST)
    random.Random(seed).shuffle(rows)
    _write(files.shifted, header, rows)
    job = json.loads((HERE / "job.json").read_text())
    job["datasetConfig"]["trainPath"] = str(files.train.absolute())
    files.job.write_text(json.dumps(job, indent=2) + "\n")
    return files


def requests(path: Path) -> list[tuple[dict[str, float | str], str]]:
    """(input of a prediction, true class) for each row of `path`, in order."""
    label_map = json.loads((HERE / "job.json").read_text())["datasetConfig"]["labelMap"]
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        texts = {"protocol_type", "service", "flag"}
        return [
            (
                {n: v if n in texts else float(v) for n, v in row.items() if n not in NOT_FEATURES},
                label_map[row["attack"]],
            )
            for row in reader
        ]


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    with lzma.open(path, "rt", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    written = prepare(Path(sys.argv[1]))
    print(f"{written.train}\n{written.calm}\n{written.shifted}\n{written.job}")
