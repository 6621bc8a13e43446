"""The command line. Nothing heavy is imported until a command needs it: `trimtab --help` answers at once."""


def main() -> None:
    """The program `trimtab`: exit status 0, 1 with one sentence on standard error, or 2 for wrong usage."""
    from trimtab.cli.root import run

    run()
