"""The layout of the library, held as data: imports go down, never up, never round."""

import ast
import graphlib
from pathlib import Path

import pytest

import skdeltagrad

PACKAGE = Path(skdeltagrad.__file__).parent

# From high to low. A module imports from floors below its own only, except for the
# pairs in SIDEWAYS.
FLOORS = {
    "face": ["__init__", "_display", "_pipeline", "inspection"],
    "facades": ["_logistic", "_ridge"],
    "sweep": ["_sweep"],
    "scores": ["_scores"],
    "base": ["_base"],
    "persistence": ["_persistence"],
    "fitted": ["_fitted"],
    "copies": ["_copies"],
    "dumps": ["_state"],
    "contract": [
        "_callbacks",
        "_commit",
        "_content",
        "_erasure",
        "_findings",
        "_history",
        "_ignored",
        "_plan",
        "_positions",
        "_receipt",
        "_report",
        "_requests",
        "_scaler",
        "_search",
        "_sklearn",
        "_solve",
        "_targets",
        "_training_set",
        "_twins",
        "_unstored",
    ],
    "engines": ["_endpoint", "_path_replay", "_step_size"],
    "replays": ["_periodic_replay", "_seeded_replay"],
    "errors of replays": ["_replay_error"],
    "propagation": ["_propagation"],
    "kept": ["_kept_curvature", "_leave_out", "_nodes", "_polish", "_seed"],
    "loop": ["_descent", "_newton", "_seed_sums"],
    "problem": ["_downdates", "_many_iterates", "_problem"],
    "data term": ["_objective", "_spread"],
    "parts": [
        "_account",
        "_budget",
        "_centring",
        "_certificate",
        "_combinations",
        "_curvature",
        "_dumps",
        "_fingerprints",
        "_hessian",
        "_leverages",
        "_losses",
        "_marks",
        "_moments",
        "_multiples",
        "_products",
        "_roster",
        "_rounding",
        "_rows",
        "_sampling",
        "_save",
        "_schedule",
        "_second_derivatives",
        "_trajectory",
    ],
    "ground": [
        "_arrays",
        "_census",
        "_change",
        "_compaction",
        "_checksum",
        "_coarse",
        "_html",
        "_intervals",
        "_kernels",
        "_live_rows",
        "_memory",
        "_meter",
        "_progress",
        "_row_search",
        "_sorted_index",
        "_text",
        "_threads",
        "_turns",
        "_typing",
        "_version",
        "_walk",
    ],
}

SIDEWAYS = {
    ("__init__", "_display"),
    ("__init__", "_pipeline"),
    ("_callbacks", "_sklearn"),
    ("_training_set", "_content"),
    ("_erasure", "_search"),
    ("_erasure", "_twins"),
    ("_history", "_receipt"),
    ("_history", "_report"),
    ("_plan", "_report"),
    ("_report", "_receipt"),
    ("_requests", "_positions"),
    ("_requests", "_receipt"),
    ("_search", "_twins"),
    ("_unstored", "_requests"),
    ("_unstored", "_training_set"),
}

# The floors that know nothing of scikit-learn.
WITHOUT_SKLEARN = [
    "engines",
    "replays",
    "errors of replays",
    "propagation",
    "kept",
    "loop",
    "problem",
    "data term",
    "parts",
    "ground",
]

FLOOR_OF = {module: floor for floor, modules in FLOORS.items() for module in modules}
HEIGHT = {floor: -number for number, floor in enumerate(FLOORS)}


def sources():
    """Every file of the library, by the path within it."""
    return {
        str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))
    }


SOURCES = sources()
MODULES = {name for name in SOURCES if "/" not in name}
KERNELS = sorted(set(SOURCES) - MODULES)


def imports(name):
    """What a file imports, anywhere in it: pairs of a dotted module and a name.

    `import a.b` gives ("a.b", None). A relative import starts with its dots, and
    `from . import a` gives (".a", None).
    """
    found = []
    for node in ast.walk(ast.parse(SOURCES[name].read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module.strip("."):
                found += [(module, alias.name) for alias in node.names]
            else:
                found += [(module + alias.name, None) for alias in node.names]
    return found


def ours(name):
    """Modules of the library that a file imports."""
    found = set()
    for module, imported in imports(name):
        if module.startswith("skdeltagrad"):
            found.add(module.partition(".")[2].split(".")[0] or imported or "__init__")
        elif module.startswith("."):
            found.add(module.lstrip(".").split(".")[0])
    return found


def of_sklearn(name):
    """What a file imports from scikit-learn, as dotted names."""
    return [
        module if imported is None else f"{module}.{imported}"
        for module, imported in imports(name)
        if module.split(".")[0] == "sklearn"
    ]


def floor_of(name):
    return FLOOR_OF.get("_kernels" if name in KERNELS else name.removesuffix(".py"))


def test_every_module_has_one_place():
    listed = [module for modules in FLOORS.values() for module in modules]
    assert len(listed) == len(set(listed))
    packages = {name.split("/")[0] for name in KERNELS}
    assert set(listed) == {name.removesuffix(".py") for name in MODULES} | packages


def test_the_imports_are_found():
    """Lest the tests below pass because they look at nothing."""
    assert ours("_base.py") >= {"_receipt", "_requests", "_rows"}
    assert "sklearn.base._fit_context" in of_sklearn("_sklearn.py")
    assert ("numba", "njit") in imports("_kernels/dense.py")
    assert ("numba", None) in imports("_kernels/__init__.py")  # within a function


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name):
    module = name.removesuffix(".py")
    for imported in sorted(ours(name)):
        assert imported in FLOOR_OF, f"{name} imports {imported}"
        if (module, imported) in SIDEWAYS:
            continue
        assert HEIGHT[FLOOR_OF[imported]] < HEIGHT[FLOOR_OF[module]], (
            f"{module} ({FLOOR_OF[module]}) imports {imported} ({FLOOR_OF[imported]})"
        )


def test_sideways_imports_are_few():
    """Parts of one floor know nothing of each other."""
    for module, imported in SIDEWAYS:
        assert FLOOR_OF[module] == FLOOR_OF[imported]
        assert FLOOR_OF[module] in ("face", "contract")
        assert imported in ours(f"{module}.py"), f"{module} imports {imported} no more"


def test_no_imports_go_round():
    graph = {name.removesuffix(".py"): ours(name) for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises where there is a circle


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_import_nothing_of_ours(name):
    """Numba's cache does not see that a helper in another file was changed."""
    assert ours(name) == set()


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if floor_of(name) in WITHOUT_SKLEARN]
)
def test_engines_know_nothing_of_scikit_learn(name):
    assert of_sklearn(name) == []


@pytest.mark.parametrize("name", SOURCES)
def test_private_names_of_scikit_learn_are_in_one_place(name):
    private = [
        dotted
        for dotted in of_sklearn(name)
        if any(part.startswith("_") for part in dotted.split("."))
    ]
    assert bool(private) == (name == "_sklearn.py"), private
