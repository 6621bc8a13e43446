"""`trimtab topics`: the Kafka topics of this installation."""

import typer

from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, from_kafka, settings
from trimtab.cli.output import show, table

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.callback(invoke_without_command=True)
def topics(
    ctx: typer.Context, kafka: Kafka = None, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """What should exist and what does; `topics apply` creates what is missing."""
    from services.kernel.bus.admin import describe_topics, wanted_topics

    if ctx.invoked_subcommand is not None:
        return
    chosen = settings(kafka_bootstrap=kafka)
    existing = from_kafka(describe_topics, chosen)
    wanted = wanted_topics(chosen)
    document = {
        "topics": [
            {
                "name": topic.name,
                "partitions": topic.partitions,
                "existing_partitions": existing.get(topic.name),
                "replication": topic.replication,
                "configs": topic.configs,
            }
            for topic in wanted
        ]
    }
    rows = [
        (topic.name, topic.partitions, existing.get(topic.name), topic.configs.get("cleanup.policy", "delete"))
        for topic in wanted
    ]
    show(document, as_json, lambda console: table(console, ("topic", "wanted", "existing", "cleanup"), rows))


@app.command("apply")
def apply(kafka: Kafka = None, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing and add partitions where there are too few."""
    from services.kernel.bus.admin import apply_topics

    outcome = from_kafka(apply_topics, settings(kafka_bootstrap=kafka))
    show({"topics": outcome}, as_json, lambda console: table(console, ("topic", "outcome"), list(outcome.items())))
