"""The pages tell the truth where a program can check it."""

import json
import re
import runpy
from pathlib import Path

import pytest

from services.registry.governance.checklist import Control
from services.registry.governance.policy import Policy, StagePolicy
from trimtab.cli.root import COMMANDS

ROOT = Path(__file__).parents[3]
ARCHITECTURE, ADR = ROOT / "docs" / "architecture", ROOT / "docs" / "adr"
PAGES = [
    *ROOT.glob("*.md"),
    *(
        page
        for room in ("bench", "deploy", "docs", "examples", "services", "tests")
        for page in ROOT.glob(f"{room}/**/*.md")
        if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)  # a peer's environment
    ),
]
NO_FIELD_OF_SETTINGS = {
    "TRIMTAB_API_KEY",  # of the command line and the SDK
    "TRIMTAB_URL",
    "TRIMTAB_SIGNING_PASSWORD",
    "TRIMTAB_SECRETS_DIR",
    "TRIMTAB_FAILPOINTS",  # of the crash tests
}


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    """The generated pages as they should be."""
    pages: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "build.py"))["build"]()
    return pages


def test_generated_parts_are_of_today(generated: dict[Path, str]) -> None:
    old = [path.name for path, text in generated.items() if path.read_text(encoding="utf-8") != text]
    assert old == [], "run: python docs/build.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    broken = [target for target in targets if target and not (page.parent / target).exists()]
    assert broken == []


def test_every_page_is_in_its_index() -> None:
    for folder in (ARCHITECTURE, ADR):
        index = (folder / "README.md").read_text(encoding="utf-8")
        missing = [
            page.name for page in folder.glob("*.md") if page.name != "README.md" and f"]({page.name})" not in index
        ]
        assert missing == []


def test_every_variable_named_is_a_setting(generated: dict[Path, str]) -> None:
    known = set(re.findall(r"`(TRIMTAB_[A-Z0-9_]+)`", generated[ARCHITECTURE / "settings.md"])) | NO_FIELD_OF_SETTINGS
    for page in PAGES:
        named = set(re.findall(r"\bTRIMTAB_[A-Z0-9_]*[A-Z0-9]\b", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name}: {named - known}"


def test_every_command_named_exists() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL)
        named = {name for block in code for name in re.findall(r"(?m)(?:^|`)\s*trimtab ([a-z][a-z-]+)", block)}
        assert named <= set(COMMANDS), f"{page.name}: {named - set(COMMANDS)}"


def test_decisions_are_numbered_and_say_when_to_look_again() -> None:
    pages = sorted(page for page in ADR.glob("*.md") if page.name != "README.md")
    for number, page in enumerate(pages, 1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04d}-")
        assert text.startswith(f"# {number:04d}: ")
        assert "**Decision.**" in text
        assert "**Look again when**" in text


def test_the_examples_of_a_policy_and_a_control_are_whole() -> None:
    page = (ARCHITECTURE / "registry.md").read_text()
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    policies = [Policy.model_validate(each) for each in examples if "production" in each]
    controls = [Control.model_validate(each) for each in examples if "title" in each]
    assert (len(policies), len(controls)) == (1, 1)
    fields = {name for each in examples for name in each}
    assert {*Policy.model_fields, *Control.model_fields} <= fields
    production = next(each["production"] for each in examples if "production" in each)
    assert set(production) == set(StagePolicy.model_fields)
