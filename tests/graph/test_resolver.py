from __future__ import annotations

import pytest

from pyg_vig.graph import GivenGraph, GridGraph, KNNGraph, SVGAGraph, graph_resolver


def test_names():
    knn = graph_resolver("knn", k=5, dilation=2)
    assert isinstance(knn, KNNGraph)
    assert (knn.k, knn.dilation) == (5, 2)
    assert isinstance(graph_resolver("grid"), GridGraph)
    assert isinstance(graph_resolver("given"), GivenGraph)
    assert isinstance(graph_resolver("svga"), SVGAGraph)


def test_modules_and_factories():
    module = GridGraph(4)
    assert graph_resolver(module) is module
    assert graph_resolver(lambda: module) is module
    assert isinstance(graph_resolver(GridGraph), GridGraph)


def test_options_of_knn_reach_no_other_builder():
    assert isinstance(graph_resolver("grid", k=5), GridGraph)


def test_options_of_knn_reach_its_class_and_those_derived_from_it():
    class Mine(KNNGraph):
        pass

    for query in ("knn", KNNGraph, Mine):
        knn = graph_resolver(query, graph_kwargs={"loop": False}, k=5, dilation=2)
        assert isinstance(knn, KNNGraph)
        assert (knn.k, knn.dilation, knn.loop) == (5, 2, False)


def test_options_of_the_builder():
    svga = graph_resolver("svga", graph_kwargs={"step": 4}, k=5)
    assert isinstance(svga, SVGAGraph)
    assert svga.step == 4
    knn = graph_resolver("knn", graph_kwargs={"k": 7, "loop": False}, k=5)
    assert isinstance(knn, KNNGraph)
    assert (knn.k, knn.loop) == (7, False)
    grid = graph_resolver(GridGraph, graph_kwargs={"neighbors": 4})
    assert isinstance(grid, GridGraph)
    assert grid.neighbors == 4


def test_options_that_fit_no_builder():
    with pytest.raises(ValueError, match=r"GridGraph does not accept these graph_kwargs: .*step"):
        graph_resolver("grid", graph_kwargs={"step": 4})
    with pytest.raises(ValueError, match=r"GridGraph does not accept these graph_kwargs: .*step"):
        graph_resolver(GridGraph, graph_kwargs={"step": 4})
    with pytest.raises(ValueError, match="takes no graph_kwargs: set step"):
        graph_resolver(GridGraph(), graph_kwargs={"step": 4})


@pytest.mark.parametrize("query", ["knm", 3, None])
def test_errors_show_the_query(query):
    with pytest.raises(ValueError, match=repr(query)):
        graph_resolver(query)


def test_factory_of_anything_but_a_module():
    with pytest.raises(ValueError, match=r"<lambda> must return a torch\.nn\.Module, got int"):
        graph_resolver(lambda: 3)
