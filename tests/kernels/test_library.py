"""The compiled library as it is found, chosen by instruction set, refused, and built."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from dsnn_hpo import cli, kernels
from dsnn_hpo.errors import DsnnHpoWarning, InputError, KernelError
from dsnn_hpo.kernels import Implementation, _library, _ops, use_implementation

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "dsnn_hpo" / "kernels" / "csrc"
WIDE = {"isa_avx2", "isa_avx512", "isa_vnni"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and ELF files")


@pytest.fixture
def reload(monkeypatch):
    """Makes the next use of the library load it again, with these environment variables; undone after the test."""

    def set_(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        _library.library.cache_clear()

    yield set_
    monkeypatch.undo()
    _library.library.cache_clear()
    if (loaded := _library.library()) is not None and not os.environ.get(_library.ISA_VARIABLE):
        # The file stays loaded for the process's life, and so does its choice.
        _library.set_isa(loaded, kernels.available_isas()[-1])


@pytest.fixture
def isas(reload):
    names = kernels.available_isas()
    if not names:
        pytest.skip("the compiled kernels are not built")
    return names


def test_every_processor_has_the_portable_instruction_set_and_the_widest_is_taken(isas, reload, monkeypatch):
    monkeypatch.delenv(_library.ISA_VARIABLE, raising=False)
    assert isas[0] == "portable"
    assert list(isas) == [name for name in _library.ISAS if name in isas]
    code = "from dsnn_hpo.kernels import isa; print(isa())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.split() == [isas[-1]]


def test_the_environment_forces_an_instruction_set(isas, reload):
    for name in isas:
        reload(DSNN_HPO_ISA=name)
        assert kernels.isa() == name
        assert kernels.available_isas() == isas
        assert kernels.isa() == name


def test_an_unknown_instruction_set_is_refused(isas, reload):
    reload(DSNN_HPO_ISA="avx521")
    with pytest.raises(InputError, match=r"DSNN_HPO_ISA: no instruction set 'avx521' \(did you mean 'avx512'\?"):
        kernels.isa()


def test_an_instruction_set_that_the_processor_lacks_is_refused(isas):
    class Old:
        """A library on a processor that has the portable instruction set only."""

        def dsnn_isa(self):
            return b"portable"

        def dsnn_set_isa(self, name):
            return int(name != b"portable")

    with pytest.raises(ValueError, match="this processor has no avx512vnni; it has portable"):
        _library.set_isa(Old(), "avx512vnni")


@pytest.fixture
def not_built(reload, monkeypatch):
    monkeypatch.delenv(_library.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(_library, "_NAME", "nowhere.so")
    reload()


def test_without_the_library_everything_works_and_says_so_once(not_built):
    weight = torch.randn(8, 8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert kernels.isa() is None
        assert kernels.available_isas() == ()
        for _ in range(2):
            kernels.power_of_two_q(weight, 4)
            kernels.fixed_point(weight, 4, 4)
            kernels.power_of_two_ps(weight, weight, 4)
    assert [w.category for w in caught] == [DsnnHpoWarning]
    assert "nowhere.so is missing" in str(caught[0].message)
    assert "pip install" in str(caught[0].message)


@pytest.mark.filterwarnings("ignore:the compiled kernels are not built")
def test_compiled_kernels_that_are_asked_for_but_missing_say_how_to_build_them(not_built):
    with use_implementation(Implementation.COMPILED), pytest.raises(KernelError, match="C\\+\\+ compiler builds them"):
        _library.compiled_library()
    with use_implementation(Implementation.REFERENCE):
        assert _library.compiled_library() is None


def test_a_library_that_the_environment_names_must_exist(reload, tmp_path):
    reload(DSNN_HPO_LIBRARY=tmp_path / "nowhere.so")
    for wanted in Implementation.AUTO, Implementation.COMPILED:
        with (
            use_implementation(wanted),
            pytest.raises(InputError, match=r"DSNN_HPO_LIBRARY: there is no file .*nowhere\.so"),
        ):
            kernels.fixed_point(torch.zeros(4), 4, 4)


def test_a_broken_file_is_refused(reload, tmp_path):
    (tmp_path / "broken.so").write_text("no library")
    reload(DSNN_HPO_LIBRARY=tmp_path / "broken.so")
    with pytest.raises(KernelError, match=r"cannot be loaded .*broken\.so"):
        kernels.isa()


def test_a_library_of_another_version_is_refused(isas, reload, monkeypatch):
    monkeypatch.setattr(_library, "ABI_VERSION", 999)
    reload()
    with pytest.raises(KernelError, match=r"are of version .*, this package needs 999"):
        kernels.isa()


def test_a_library_that_lacks_a_function_is_told_to_be_old(isas):
    with pytest.raises(KernelError, match="have no function dsnn_of_tomorrow: they are older"):
        _library.library().dsnn_of_tomorrow()
    with pytest.raises(KernelError, match="have no function dsnn_of_tomorrow: they are older"):
        _ops.typed(_library.library(), "dsnn_of_tomorrow", ctypes.c_int32)
    assert not hasattr(_library.library(), "__of_python__")


@pytest.mark.parametrize(
    ("variable", "value", "exit_code"),
    [
        ("DSNN_HPO_ISA", "sse", 2),
        ("DSNN_HPO_LIBRARY", ROOT / "nowhere.so", 2),
        ("DSNN_HPO_LIBRARY", ROOT / "README.md", 1),
    ],
)
def test_the_command_line_stops_with_a_message_before_any_trial(
    isas, reload, capsys, monkeypatch, variable, value, exit_code
):
    reload(**{variable: value})
    monkeypatch.setattr(sys, "argv", ["dsnn-hpo", "check", str(ROOT / "experiments" / "digits.yaml")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == exit_code
    error = capsys.readouterr().err
    assert str(value) in error
    assert "Traceback" not in error


def test_check_names_the_instruction_set(isas, reload, capsys, monkeypatch):
    reload(DSNN_HPO_ISA="portable")
    monkeypatch.setattr(sys, "argv", ["dsnn-hpo", "check", str(ROOT / "experiments" / "digits.yaml")])
    with pytest.raises(SystemExit):
        cli.main()
    assert "kernels: portable" in capsys.readouterr().out


@linux
def test_the_process_has_one_openmp_runtime_torchs(isas):
    code = (
        "from pathlib import Path\n"
        "from dsnn_hpo.kernels import isa\n"
        "isa()\n"
        "maps = Path('/proc/self/maps').read_text().split('\\n')\n"
        "print(*{line.split()[-1] for line in maps if 'omp' in Path(line.split('/')[-1]).name})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    runtimes = shown.stdout.split()
    assert len(runtimes) <= 1, runtimes
    if list((Path(torch.__file__).parent / "lib").glob("libgomp*")):
        assert Path(torch.__file__).parent in Path(runtimes[0]).parents


@pytest.fixture(scope="module")
def objects():
    """The object files by source name; `make lint` builds the same folder, so that this mostly finds it ready."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    cmake = shutil.which("cmake", path=environment["PATH"])
    for tool in (cmake, *map(shutil.which, ("c++", "objdump", "nm"))):
        if tool is None:
            pytest.skip("needs cmake, a C++ compiler and binutils")
    folder = ROOT / "build" / "lint"
    for step in (["-S", CSRC, "-B", folder, "-G", "Ninja", "-DCMAKE_CXX_FLAGS=-Werror"], ["--build", folder]):
        subprocess.run([cmake, *step], check=True, env=environment, stdout=subprocess.DEVNULL)
    return {file.name.removesuffix(".cpp.o"): file for file in folder.rglob("*.cpp.o")}


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@linux
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the wide instruction sets are x86's")
def test_wide_instructions_are_only_in_the_files_of_their_instruction_sets(objects):
    wide = re.compile(r"%[yz]mm|\bv[a-z0-9]+ .*%xmm")
    counts = {name: len(wide.findall(output_of("objdump", "-d", str(file)))) for name, file in objects.items()}
    assert {name for name, count in counts.items() if count} <= WIDE, counts
    assert set(counts) > WIDE


@linux
def test_files_with_wide_instructions_share_no_function_that_the_linker_could_give_to_others(objects):
    for name in WIDE & set(objects):
        lines = output_of("nm", "-C", "--defined-only", "--extern-only", str(objects[name])).splitlines()
        assert [line.split(maxsplit=2)[2].startswith("dsnn::k") for line in lines] == [True], lines


@linux
def test_the_library_exports_its_c_functions_only(isas):
    lines = output_of("nm", "-D", "--defined-only", _library.library()._name).splitlines()
    strong = [line.split()[2] for line in lines if line.split()[1] in "TDBR"]
    assert strong
    assert [name for name in strong if not name.startswith("dsnn_")] == []
