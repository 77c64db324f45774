from __future__ import annotations

import dsnn_hpo.deploy


def test_the_package_exports_what_it_lists():
    listed = dsnn_hpo.deploy.__all__
    assert listed == sorted(listed)
    assert all(hasattr(dsnn_hpo.deploy, name) for name in listed)
