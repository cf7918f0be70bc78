from __future__ import annotations

import pytest

from pyg_vig.graph import GivenGraph, GridGraph, KNNGraph, graph_resolver


def test_names():
    knn = graph_resolver("knn", k=5, dilation=2)
    assert isinstance(knn, KNNGraph)
    assert (knn.k, knn.dilation) == (5, 2)
    assert isinstance(graph_resolver("grid"), GridGraph)
    assert isinstance(graph_resolver("given"), GivenGraph)


def test_modules_and_factories():
    module = GridGraph(4)
    assert graph_resolver(module) is module
    assert graph_resolver(lambda: module) is module
    assert isinstance(graph_resolver(GridGraph), GridGraph)


def test_options_of_knn_reach_no_other_builder():
    assert isinstance(graph_resolver("grid", k=5), GridGraph)


@pytest.mark.parametrize("query", ["knm", 3, None])
def test_errors_show_the_query(query):
    with pytest.raises(ValueError, match=repr(query)):
        graph_resolver(query)
