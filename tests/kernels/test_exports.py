from types import ModuleType

from dsnn_hpo import kernels


def test_all_lists_exactly_the_public_functions_and_types():
    public = {
        name
        for name, value in vars(kernels).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert public == set(kernels.__all__)
