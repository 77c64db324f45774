from __future__ import annotations

import dsnn_hpo.executor


def test_the_package_exports_what_it_lists():
    assert sorted(dsnn_hpo.executor.__all__) == ["Executor", "freeze"]
    assert all(hasattr(dsnn_hpo.executor, name) for name in dsnn_hpo.executor.__all__)
