"""Who gets a model's traffic, and how it is served."""

from collections.abc import Mapping
from typing import Any

from trimtab import calls
from trimtab.surfaces.sender import Answer, Sender


class Deployments(Sender[Answer]):
    """Deployments: what is wanted, and what the replicas make of it."""

    def deploy(
        self,
        model_id: str,
        version: str | None = None,
        *,
        canary: float | None = None,
        variants: Mapping[str, Any] | None = None,
        shadow: str | None = None,
        fallback: str | None = None,
        fallback_model: str | None = None,
        fallback_constant: Mapping[str, Any] | str | float | None = None,
        sticky_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        quantize: str | None = None,
        quantize_max_loss: float | None = None,
        reason: str | None = None,
        expected_revision: int | None = None,
    ) -> Answer:
        """Give a version the traffic, or `canary` percent of it. Without a version: the one in production.

        `variants` splits it between versions with names of their own, `{"A": ("1.0.0", 50), "B": ("1.1.0", 50)}`. A
        request that fails falls back to the version `fallback`, then to `fallback_model`, then to `fallback_constant`
        (a class, a number, or a document with `prediction` and `probabilities`). `options` replace those of the model
        (`{}`: none); left out they stay.

        `quantize` (`int8`, `fp16`, or `none` for its own graph again) serves the version by a smaller graph, if that
        loses no more than `quantize_max_loss` (0.01) on the version's baseline sample; else it is a `Conflict` whose
        `facts["report"]` has the figures.

        With `expected_revision` the change is made only if the deployment still has that revision, else
        `PreconditionFailed`.
        """
        return self.send(
            calls.deploy(
                model_id,
                version,
                canary=canary,
                variants=variants,
                shadow=shadow,
                fallback=fallback,
                fallback_model=fallback_model,
                fallback_constant=fallback_constant,
                sticky_key=sticky_key,
                options=options,
                quantize=quantize,
                quantize_max_loss=quantize_max_loss,
                reason=reason,
                expected_revision=expected_revision,
            )
        )

    def set_deployment_options(
        self, model_id: str, options: Mapping[str, Any], *, expected_revision: int | None = None
    ) -> Answer:
        """Serve a model with other options and the same traffic; `{}` resets them."""
        return self.send(calls.set_deployment_options(model_id, options, expected_revision))

    def deployments(self) -> Answer:
        """What every model's traffic should go to, and what the replicas really serve."""
        return self.send(calls.deployments())

    def deployment(self, model_id: str) -> Answer:
        """One model's deployment."""
        return self.send(calls.deployment(model_id))

    def rollback(self, model_id: str, *, reason: str = "") -> Answer:
        """Back to what was deployed before."""
        return self.send(calls.rollback(model_id, reason))
