"""The pages that people read: their code runs, their links and pictures are there."""

import re
from pathlib import Path

import pytest

import skdeltagrad

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "doc").glob("*.md")),
    *sorted((ROOT / "doc" / "how_to").glob("*.md")),
]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+\.(?:md|svg|py|cff))(?:#[^)]*)?\)|\[\w+\]\((LICENSE)\)")

# Made by the build.
BUILT = ("generated/",)


def test_there_are_pages():
    assert {"README.md", "index.md", "certificate.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page):
    """Blocks with prompts are run by CI as doctests, the others here."""
    names = {}
    for language, block in FENCE.findall(page.read_text()):
        if language in ("python", "py", "pycon"):
            if block.startswith(">>> "):
                assert block.endswith("\n\n"), f"a blank line ends the output: {block}"
            else:
                exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files(page):
    for groups in LINK.findall(page.read_text()):
        target = "".join(groups)
        if not target.startswith(BUILT):
            assert (page.parent / target).exists(), target


def test_citation_has_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {skdeltagrad.__version__}\n" in citation


def test_every_example_has_its_place():
    order = (ROOT / "doc" / "_gallery.py").read_text()
    paths = (ROOT / "examples").glob("*/plot_*.py")
    examples = sorted(path.name for path in paths if path.parent.name != "benchmarks")
    assert sorted(re.findall(r"\"(plot_\w+\.py)\"", order)) == examples


@pytest.mark.parametrize("name", sorted({*skdeltagrad.__all__} - {"__version__"}))
def test_the_reference_has_every_name(name):
    assert f"\n   {name}\n" in (ROOT / "doc" / "api.rst").read_text()
