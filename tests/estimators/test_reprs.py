"""What notebooks and consoles show: short, escaped, and cheap."""

from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from time import perf_counter

import pytest
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeltagrad import DeltaGradRidge, History, assert_erased
from skdeltagrad._reports import report_text
from skdeltagrad._utils import html as _html


class Reader(HTMLParser):
    """Text of well-formed HTML, and how its tags are nested."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts, self.tags = [], [], set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " | ".join(self.texts)


@pytest.fixture(scope="module")
def edited():
    X, y = load_diabetes(return_X_y=True)
    model = DeltaGradRidge(solver="gd", max_iter=12, period=4).fit(X, y)
    return model.unlearn(position=[3, 4], request_id="<b>&mine"), X, y


def test_text_is_escaped():
    hostile = '<script>alert("x")</script>&'
    for html in (
        _html.facts(hostile, {hostile: hostile}, hostile),
        _html.records(hostile, [hostile], [[hostile]], hostile),
    ):
        read = Reader(html)
        assert "script" not in read.tags
        assert read.texts == [hostile] * len(read.texts)
        assert len(read.texts) == 4
    assert "None" not in _html.facts("title", {"name": None, "empty": ""})


def test_colours_are_those_of_the_page():
    html = _html.facts("title", {"a": 1}) + _html.records("title", ["a"], [[1]])
    assert "background:transparent" in html and "color:inherit" in html
    assert "#" not in html


def test_report(edited):
    report = edited[0].update_report_
    read = Reader(report._repr_html_())
    assert "b" not in read.tags
    assert report_text.headline(report) in read.texts
    assert f"computed {report.n_exact_steps} of 12 steps exactly" in read.texts
    assert report.time in read.texts
    assert report.digest[:12] in read.text
    short = replace(report, seconds=0.0)
    assert repr(short) == "UpdateReport('<b>&mine': removed 2 rows; 440 rows now)"
    refit = replace(report, refit=True, reason="a < b", membership_checked=False)
    assert (
        "fitted again: a < b\nnot checked whether" in Reader(refit._repr_html_()).text
    )


def test_history(edited):
    history = edited[0].history_
    read = Reader(history._repr_html_())
    assert "2 reports" in read.texts
    assert "before them" not in read.text
    assert "'<b>&mine'" in read.texts
    long = History([*history] * 20)
    read = Reader(long._repr_html_())
    assert "and 20 before them" in read.texts
    assert read.texts.count("2 removed, 440 rows") == 10
    assert Reader(History()._repr_html_()).texts[0] == "0 reports"


def test_plan(edited):
    plan = edited[0].plan_unfit(position=[7, 8, 9])
    read = Reader(plan._repr_html_())
    assert "3 rows would be removed, 437 remain" in read.texts
    assert repr(plan) == "EditPlan(3 rows would be removed, 437 remain)"
    assert "no pass" not in read.text
    assert str(plan).splitlines()[1].strip().startswith("11 of 12 steps exact, about")


def test_trajectory(edited):
    run = edited[0].trajectory_
    read = Reader(run._repr_html_())
    assert f"12, {run.exact.sum()} exact" in read.texts
    assert "float64" in read.texts
    assert "1 x 11" in read.texts


def test_erasure_report(edited):
    model, X, y = edited
    report = assert_erased(deepcopy(model).purge(), X[3:5])
    assert repr(report).startswith("ErasureReport(2 of 2 rows checked, ")
    assert str(report).splitlines()[0] in Reader(report._repr_html_()).texts


def test_estimators_are_shown_at_once(edited):
    """Its diagram looks at every public attribute: a full history is one of them."""
    model, X, y = edited
    model.history_ = History([*model.history_] * 500)
    assert len(model.history_) == 1000
    seconds = []
    for _ in range(5):
        started = perf_counter()
        html = model._repr_html_()
        seconds.append(perf_counter() - started)
    assert "DeltaGradRidge" in html
    assert min(seconds) < 0.5  # 0.01 to 0.04 on an idle machine


def test_estimators_link_to_no_foreign_pages():
    """There is no page of ours to link to; and scikit-learn has none on our classes."""
    model = DeltaGradRidge()
    assert model._get_doc_link() == ""
    html = make_pipeline(StandardScaler(), model)._repr_html_()
    assert "StandardScaler.html" in html
    assert "DeltaGradRidge.html" not in html
