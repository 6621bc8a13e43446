"""A job's rows: which are trained on, which validate, test and prove, and what the model's signature is."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from schemas.features import Signature
from schemas.jobs import DatasetConfig, Holdout, TrainingJob
from schemas.predictions import redacted_in, token_column
from services.kernel.errors import InvalidInput
from services.trainer.inference import check_classes, infer_inputs, probabilities_signature
from services.trainer.labelled import LabelledRows
from services.trainer.reading import Locate, read_rows
from services.trainer.splitting import held_out, stratified_split

DEFAULT_LABEL = "label"


@dataclass(frozen=True)
class TrainingData:
    """Everything that one job learns from and is judged by. `notes` are sentences for the job's report.

    `newest` are all rows of the held-out data set, with those that joined the training rows.
    """

    signature: Signature
    training: LabelledRows
    validation: LabelledRows
    test: LabelledRows | None
    holdout: LabelledRows | None
    newest: LabelledRows | None
    digest: str
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the network's outputs."""
        return self.signature.classes or ()


@dataclass
class _Reader:
    config: DatasetConfig
    locate: Locate
    label_column: str
    columns: dict[str, pa.DataType] = field(default_factory=dict)
    classes: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    id_column: str = ""
    held_out_ids: pa.Array | None = None

    def training(self) -> LabelledRows:
        table = read_rows(self.config.train_path, "datasetConfig.trainPath", self.locate)
        missing = [name for name in self.config.drop_columns if name not in table.column_names]
        if missing:
            raise InvalidInput(
                f"datasetConfig.dropColumns: the training rows have no column {', '.join(missing)}",
                field="datasetConfig.dropColumns",
            )
        where, label_map = "datasetConfig.trainPath", self.config.label_map or {}
        labels = self._labels(table, where, label_map, self.label_column)
        names = [name for name in table.column_names if name not in (self.label_column, *self.config.drop_columns)]
        self._refuse_redacted(table, names, where)
        if not names:
            raise InvalidInput("datasetConfig.trainPath: there is no feature column beside the label")
        features = table.select(names)
        self.columns = {column.name: column.type for column in features.schema}
        rows = self._with_label(features, labels, "datasetConfig.trainPath")
        self.classes = frozenset(rows.labels.unique().to_pylist())
        return rows

    def more(self, reference: str, where: str) -> LabelledRows:
        """Further rows with the training rows' columns; other columns are ignored. Their labels lie in the job's label
        column, or in `label`, and may be mapped already."""
        return self.fit(self._without_held_out(read_rows(reference, where, self.locate), where), where)

    def _without_held_out(self, table: pa.Table, where: str) -> pa.Table:
        """An earlier data set may hold rows that are held out now: they must not be trained on."""
        if self.held_out_ids is None or self.id_column not in table.column_names:
            return table
        known = pc.is_in(_as_text(table.column(self.id_column)), self.held_out_ids)
        if known.true_count:
            self.notes.append(f"{known.true_count} rows of {where} are held out and were left out of it.")
        return table.filter(pc.invert(known))

    def fit(self, table: pa.Table, where: str) -> LabelledRows:
        """`table` with exactly the training rows' columns and types."""
        label_map = {name: name for name in self.classes} | (self.config.label_map or {})
        name = self.label_column if self.label_column in table.column_names else DEFAULT_LABEL
        labels = self._labels(table, where, label_map if self.config.label_map else {}, name, strict=False)
        self._refuse_redacted(table, self.columns, where)
        columns = {}
        for name, kind in self.columns.items():
            if name not in table.column_names:
                raise InvalidInput(f"{where}: the column {name!r} of the training rows is missing", field=where)
            column = table.column(name)
            if pa.types.is_null(kind) or pa.types.is_null(column.type):
                column = pa.chunked_array([pa.nulls(table.num_rows, kind)])
            elif column.type != kind:
                raise InvalidInput(
                    f"{where}: column {name!r} holds {column.type} values, but {kind} values in the training rows",
                    field=where,
                )
            columns[name] = column
        return self._with_label(pa.table(columns), labels, where)

    def _refuse_redacted(self, table: pa.Table, names: Iterable[str], where: str) -> None:
        """Digests in place of values teach nothing that holds elsewhere, and absent values what was hidden, not what
        was missing. Raises `InvalidInput` naming the features."""
        learnt = set(names)
        redacted = sorted(redacted_in(table.schema))
        hidden = [name for name in redacted if name in learnt or token_column(name) in learnt]
        if hidden:
            raise InvalidInput(
                f"{where}: the values of {', '.join(hidden[:20])} are redacted in the prediction log, by the policy of "
                "the model's deployment, so nothing can be learnt from these rows: log the features as they are, or "
                f"name their columns ({hidden[0]}, {token_column(hidden[0])}) in dropColumns",
                field=where,
            )
        left_out = [name for name in redacted if name not in self.config.drop_columns]
        if left_out:
            self.notes.append(f"{', '.join(left_out)}: redacted in {where}, and left out.")

    def _labels(
        self, table: pa.Table, where: str, label_map: dict[str, str], name: str, *, strict: bool = True
    ) -> pa.Array:
        """The mapped labels. A label that the map lacks is an error in the training rows; elsewhere it is left out."""
        if name not in table.column_names:
            raise InvalidInput(
                f"datasetConfig.labelColumn: {where} has no column {self.label_column!r}"
                + ("; name the column that holds the class" if self.config.label_column is None else "")
                + f" (columns: {', '.join(table.column_names[:60])})",
                field="datasetConfig.labelColumn",
            )
        labels = _as_text(table.column(name))
        if not label_map:
            return labels
        places = pc.index_in(labels, pa.array(list(label_map)))
        unknown = labels.filter(pc.and_(pc.is_null(places), pc.is_valid(labels))).unique().to_pylist()
        if unknown:
            said = f"{where} has labels that the map lacks: {', '.join(sorted(unknown)[:20])}"
            if strict:
                raise InvalidInput(f"datasetConfig.labelMap: {said}", field="datasetConfig.labelMap")
            self.notes.append(f"{said}; their rows were left out.")
        return pa.array(list(label_map.values())).take(places)

    def _with_label(self, features: pa.Table, labels: pa.Array, where: str) -> LabelledRows:
        valid = labels.is_valid()
        unlabelled = labels.null_count
        if unlabelled and unlabelled == len(labels):
            raise InvalidInput(f"{where}: no row has a label", field=where)
        if unlabelled:
            self.notes.append(f"{unlabelled} rows of {where} have no label and were left out.")
            features, labels = features.filter(valid), labels.filter(valid)
        return LabelledRows(features.combine_chunks(), labels)


def load(job: TrainingJob, locate: Locate) -> TrainingData:
    """Read everything that `job` names. Raises `InvalidInput` naming the field of the job that is wrong."""
    config = job.dataset_config
    reader = _Reader(config, locate, config.label_column or DEFAULT_LABEL)
    training = reader.training()
    test = reader.more(config.test_path, "datasetConfig.testPath") if config.test_path else None
    holdout, newest = None, None
    if job.holdout is not None:
        holdout, rest = _hold_out(job.holdout, reader)
        training, newest = training.joined(rest), holdout.joined(rest)
        reader.notes.append(
            f"{holdout.rows} rows of {job.holdout.path} are held out for the comparison; "
            f"{rest.rows} joined the training rows."
        )
    for number, path in enumerate(config.additional_paths):
        training = training.joined(reader.more(path, f"datasetConfig.additionalPaths[{number}]"))
    if config.validation_path:
        validation = reader.more(config.validation_path, "datasetConfig.validationPath")
    else:
        fit, check = stratified_split(training.labels, config.validation_fraction, job.training_config.seed)
        training, validation = training.take(fit), training.take(check)
        reader.notes.append(
            f"No validation data was given: {validation.rows} of {training.rows + validation.rows} training rows, "
            f"stratified by label with seed {job.training_config.seed}, validate the model."
        )
    classes = tuple(sorted(training.labels.unique().to_pylist()))
    check_classes(classes)
    inputs, notes = infer_inputs(training.features)
    return TrainingData(
        signature=probabilities_signature(inputs, classes),
        training=training,
        validation=validation,
        test=test,
        holdout=holdout,
        newest=newest,
        digest=_digest_of_parts(training=training, validation=validation, test=test, holdout=holdout),
        notes=(*reader.notes, *notes),
    )


def _hold_out(wanted: Holdout, reader: _Reader) -> tuple[LabelledRows, LabelledRows]:
    table = read_rows(wanted.path, "holdout.path", reader.locate)
    if wanted.id_column not in table.column_names:
        raise InvalidInput(
            f"holdout.idColumn: {wanted.path} has no column {wanted.id_column!r}", field="holdout.idColumn"
        )
    identifiers = _as_text(table.column(wanted.id_column))
    if identifiers.null_count:
        raise InvalidInput(f"holdout.idColumn: {identifiers.null_count} rows of {wanted.path} have no identifier")
    out = pa.array([held_out(identifier, wanted.fraction) for identifier in identifiers.to_pylist()], pa.bool_())
    if out.true_count == 0:
        raise InvalidInput(f"holdout.path: none of the {table.num_rows} rows falls into the held-out part")
    reader.id_column, reader.held_out_ids = wanted.id_column, identifiers.filter(out)
    kept = reader.fit(table.filter(out), "holdout.path")
    return kept, reader.fit(table.filter(pc.invert(out)), "holdout.path")


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    """Class names or identifiers: whole numbers without a point, booleans as `true` and `false`."""
    if pa.types.is_floating(column.type):
        values = [None if value is None else _number_text(value) for value in column.to_pylist()]
        return pa.array(values, pa.string())
    text = column.cast(pa.string())
    return text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text


def _number_text(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def _digest_of_parts(**parts: LabelledRows | None) -> str:
    total = hashlib.sha256()
    for name, rows in parts.items():
        if rows is not None:
            total.update(f"{name} {rows.digest}\n".encode())
    return total.hexdigest()
