"""The layout of the library, held as data: imports go down, never up, never round."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import skdeltagrad

PACKAGE = Path(skdeltagrad.__file__).parent

# From high to low. What a folder holds imports from floors below its own only; the
# parts of one floor know nothing of each other.
FLOORS = {
    "guarantees": ["certified"],
    "face": ["__init__", "inspection"],
    "estimators": ["_estimators"],
    "engines": ["_optimum", "_path"],
    "seam": ["_engine", "_reports"],
    "parts": ["_data", "_erasure", "_objective", "_sources"],
    "ground": ["_kernels", "_utils", "_version"],
}

# The floors that know nothing of scikit-learn.
WITHOUT_SKLEARN = [
    "_optimum",
    "_path",
    "_engine",
    "_data",
    "_objective",
    "_sources",
    "_kernels",
]

# How long the body of a function may be, in lines without its signature and docstring.
LONGEST_BODY = 60

# Folders that ask whether something is sparse: those where rows are stored, searched
# for, and recognised in what a user gives.
FORM_FOLDERS = ("_data", "_erasure", "_sources")
# Other modules that ask it: what a transaction overwrites may have any form.
FORMS = {("_utils", "transaction")}

# Private names that one folder reads of another's objects, with the reason.
PRIVATE_ACROSS = {
    # What `_utils.training_rows` declares for the estimators, whose users shall not see
    # it among their methods.
    "_erasure": {
        "_count_equal_rows",
        "_count_ids",
        "_count_multiples",
        "_row_files",
        "_implied_vectors",
        "_index_keys",
        "_knows_rows",
        "_purge_state",
        "_training_sums",
    },
    # A named tuple's method, and scikit-learn's own.
    "_estimators": {"_get_param_names"},
    "_path": {"_replace"},
    "_utils": {"_init_callback_context"},
}

# What the comment of a numeric constant begins with: which of four things it is, or a
# number that means nothing as a number.
KINDS_OF_CONSTANTS = re.compile(
    r"(^|[.:] )(an? )?"
    r"(mathematics|rounding|accuracy|costs?|display|sentinels?|versions?)\b",
    re.IGNORECASE,
)
# Modules whose docstring says it for all of them.
ALL_COSTS = re.compile("constants of this module are costs")

FLOOR_OF = {folder: floor for floor, folders in FLOORS.items() for folder in folders}
HEIGHT = {floor: -number for number, floor in enumerate(FLOORS)}

# Every file of the library, by its path as a tuple: ("_data", "rows").
SOURCES = {
    path.relative_to(PACKAGE).with_suffix("").parts: path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in SOURCES.items()}
IDS = list(map(".".join, SOURCES))
every_module = pytest.mark.parametrize("module", SOURCES, ids=IDS)


def imports(module):
    """What a file imports, anywhere in it: pairs of an absolute path and a name.

    `import a.b` gives (("a", "b"), None), and within the library the paths begin with
    "skdeltagrad".
    """
    package = ("skdeltagrad", *module[:-1])
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split(".")), None
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else ()
            path = (*start, *(node.module or "").split(".")) if node.module else start
            for alias in node.names:
                yield path, alias.name


def ours(module):
    """Modules of the library that a file imports, as keys of `SOURCES`."""
    found = set()
    for path, name in imports(module):
        if path[0] != "skdeltagrad":
            continue
        inner = path[1:]
        for candidate in (
            (*inner, name),
            (*inner, name, "__init__"),
            inner,
            (*inner, "__init__"),
        ):
            if candidate in SOURCES:
                found.add(candidate)
                break
        else:
            raise AssertionError(f"{'.'.join(module)} imports {path}, {name}")
    return found


def of_sklearn(module):
    """What a file imports from scikit-learn, as dotted names."""
    return [
        ".".join(path if name is None else (*path, name))
        for path, name in imports(module)
        if path[0] == "sklearn"
    ]


def test_every_folder_has_one_place():
    listed = [folder for folders in FLOORS.values() for folder in folders]
    assert len(listed) == len(set(listed))
    assert set(listed) == {module[0] for module in SOURCES}


def test_the_imports_are_found():
    """Lest the tests below pass because they look at nothing."""
    found = ours(("_estimators", "base"))
    assert found >= {("_reports", "plan"), ("_estimators", "requests")}
    private = of_sklearn(("_utils", "sklearn_compat"))
    assert "sklearn.base._fit_context" in private
    assert (("numba",), "njit") in set(imports(("_kernels", "dense")))
    assert (("numba",), None) in set(imports(("_kernels", "__init__")))


@every_module
def test_imports_go_down(module):
    for imported in ours(module):
        if imported[0] != module[0]:
            above, below = FLOOR_OF[module[0]], FLOOR_OF[imported[0]]
            assert HEIGHT[below] < HEIGHT[above], f"{module} imports {imported}"


def test_no_imports_go_round():
    graph = {module: ours(module) for module in SOURCES}
    graphlib.TopologicalSorter(graph).prepare()  # raises where there is a circle


@pytest.mark.parametrize("module", [m for m in SOURCES if m[0] == "_kernels"])
def test_kernels_import_nothing_of_ours(module):
    """Numba's cache does not see that a helper in another file was changed."""
    assert ours(module) == set()


@pytest.mark.parametrize("module", [m for m in SOURCES if m[0] in WITHOUT_SKLEARN])
def test_engines_know_nothing_of_scikit_learn(module):
    assert of_sklearn(module) == []


@every_module
def test_private_names_of_scikit_learn_are_in_one_place(module):
    private = [
        dotted
        for dotted in of_sklearn(module)
        if any(part.startswith("_") for part in dotted.split("."))
    ]
    assert bool(private) == (module == ("_utils", "sklearn_compat")), private


@every_module
def test_no_body_is_long(module):
    for function in ast.walk(TREES[module]):
        if not isinstance(function, ast.FunctionDef):
            continue
        body = function.body
        if ast.get_docstring(function) is not None:
            body = body[1:]
        n_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert n_lines <= LONGEST_BODY, f"{function.name}: {n_lines}"


def names_defined_in(folder):
    """Attributes, functions and variables that the modules of a folder define."""
    for module, tree in TREES.items():
        if module[0] != folder:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield node.attr


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("folder", FLOOR_OF)
def test_no_private_attribute_is_read_across_folders(folder):
    own = {name for name in names_defined_in(folder) if is_private(name)}
    read = {
        node.attr
        for module, tree in TREES.items()
        if module[0] == folder
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }
    assert read - own == PRIVATE_ACROSS.get(folder, set())


@pytest.mark.parametrize(
    "module",
    [m for m in SOURCES if m[0] not in FORM_FOLDERS and m not in FORMS],
)
def test_only_the_folders_of_rows_ask_whether_they_are_sparse(module):
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not names & {"is_sparse", "issparse"}


def numeric_constants(module):
    """Module-level constants that are numbers, by line number: names."""
    for node in TREES[module].body:
        if not isinstance(node, ast.Assign):
            continue
        names = [
            n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)
        ]
        value = ast.unparse(node.value)
        is_number = re.fullmatch(r"[-+*/(), \d.eE]*\d[-+*/(), \d.eE]*", value)
        if all(name.isupper() for name in names) and (is_number or "finfo" in value):
            yield node.lineno, names


def comment_of(lines, number):
    """The comment on a line, or above it and the constants that share it."""
    _, _, beside = lines[number - 1].partition("#")
    if beside:
        return beside.strip()
    above = number - 1
    while lines[above - 1] and not lines[above - 1].startswith(("#", " ", ")")):
        above -= 1
    comment = []
    while lines[above - 1].startswith("#"):
        above -= 1
        comment.insert(0, lines[above].removeprefix("#").strip())
    return " ".join(comment)


@every_module
def test_every_number_says_what_it_is(module):
    tree, lines = TREES[module], SOURCES[module].read_text().splitlines()
    doc = " ".join((ast.get_docstring(tree) or "").split())
    if ALL_COSTS.search(doc):
        return
    silent = [
        names
        for number, names in numeric_constants(module)
        if not KINDS_OF_CONSTANTS.search(comment_of(lines, number))
    ]
    assert not silent


def test_numbers_are_found():
    """Lest the test above passes because it looks at nothing."""
    counts = [len(list(numeric_constants(module))) for module in SOURCES]
    assert sum(counts) > 150
