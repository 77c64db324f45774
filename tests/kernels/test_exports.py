from dsnn_hpo import kernels


def test_all_lists_exactly_the_public_functions_and_types():
    modules = {"annotations", "fixed_point", "power_of_two"}
    public = {name for name in vars(kernels) if not name.startswith("_")} - modules
    assert public | {"fixed_point"} == set(kernels.__all__)
    assert callable(kernels.fixed_point)
