"""One network trained by several processes: the same as by one, and the same in each of them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.neural_network import data_parallel

if not torch.distributed.is_available():
    pytest.skip("torch was built without torch.distributed", allow_module_level=True)

slow = pytest.mark.slow

X, Y = load_digits(return_X_y=True)
X, Y = X[:203] / 16, Y[:203]  # batches of 50 leave a last one of 3
WEIGHT = np.random.default_rng(0).integers(0, 3, len(Y)).astype(float)
DETERMINISTIC = {"epsilon": 0.1, "pgd_steps": 2, "max_epochs": 3, "batch_size": 50, "lr": 1e-2,
                 "random_start": False, "dtype": "float64", "random_state": 0}  # fmt: skip


def normed(input_shape, n_classes):
    """Return a network whose layers see a batch as a whole."""
    return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, n_classes))


SAME_AS_ONE = {
    "fc": RobustFCClassifier((16,), **DETERMINISTIC),
    "cnn": RobustCNNClassifier(**DETERMINISTIC | {"max_epochs": 1}, dropout=0, filters=(4, 4),
                               kernel_size=5, downsampling="pool", hidden_layer_sizes=(16,),
                               lr_schedule="constant", input_ramp=None, augmentation=None),
    "many settings": RobustFCClassifier(
        (16,), preprocessor=StandardScaler(), class_weight="balanced", max_grad_norm=0.5,
        weight_averaging="ema", lr_schedule="one-cycle", optimizer="adamw", **DETERMINISTIC,
    ),
    "mart": RobustFCClassifier((16,), training="mart", **DETERMINISTIC),
    "early stopping": RobustFCClassifier(
        (16,), early_stopping=True, validation_fraction=0.3, n_iter_no_change=2,
        **DETERMINISTIC | {"max_epochs": 40, "lr": 0.05},
    ),
}  # fmt: skip
DEFAULTS = {"epsilon": 0.1, "pgd_steps": 2, "max_epochs": 20, "batch_size": 50, "lr": 1e-2}
SAME_IN_EACH = {
    "random start and dropout": RobustFCClassifier((32,), dropout=0.2, random_state=1, **DEFAULTS),
    "no random state": RobustFCClassifier((32,), early_stopping=True, **DEFAULTS),
    "batch norm": RobustNeuralNetClassifier(normed, random_state=1, **DEFAULTS),
    "free": RobustFCClassifier((32,), training="free", random_state=1, **DEFAULTS),
    "certified": RobustFCClassifier((32,), training="ibp", random_state=1, **DEFAULTS),
}


N_PROCESSES = 3  # into which batches do not divide evenly
ABORT_AT_EXIT = "terminate called without an active exception"


def launch(program, n_processes, folder):
    """Run a file as torchrun does, on this machine, and raise if it fails.

    A few runs in a hundred end with an abort while the interpreter shuts down, after the group was
    destroyed: torch's gloo threads outlive it (https://github.com/pytorch/pytorch/pull/179291).
    By then every process is past its barrier and has written what it has to write.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               f"--nproc-per-node={n_processes}", program]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 or done.stderr.startswith(ABORT_AT_EXIT), done.stderr


def train_all():
    """Fit all estimators in this process and leave them in the working directory."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    fitted = {}
    with data_parallel():
        for name, clf in (SAME_AS_ONE | SAME_IN_EACH).items():
            fitted[name] = clf.fit(X, Y, sample_weight=WEIGHT)
        clf = RobustFCClassifier((16,), **DETERMINISTIC)
        fitted["partial"] = clf.partial_fit(X[:100], Y[:100]).partial_fit(X[100:], Y[100:])
        errors = {}
        own = slice(rank, None, 2)
        for name, clf, data in (
            ("own data", RobustFCClassifier((16,)), (X[own], Y[own])),
            ("own parameters", RobustFCClassifier((16,), lr=1e-3 * (1 + rank)), (X, Y)),
            ("checkpoint", RobustFCClassifier((16,), checkpoint="c", random_state=0), (X, Y)),
        ):
            try:
                clf.fit(*data)
            except ValueError as error:
                errors[name] = str(error)
    Path(f"rank-{rank}.pickle").write_bytes(pickle.dumps((fitted, errors)))
    torch.distributed.barrier()  # nobody leaves while another still writes
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Return what each process has fitted, and the errors it met."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "train.py"
    script.write_text(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('test_parallel', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['test_parallel'] = module\n"
        "spec.loader.exec_module(module)\n"
        "module.train_all()\n"
    )
    launch(script, N_PROCESSES, folder)
    sys.modules["test_parallel"] = sys.modules[__name__]  # the factory's module in the pickles
    ranks = [folder / f"rank-{rank}.pickle" for rank in range(N_PROCESSES)]
    return [pickle.loads(path.read_bytes()) for path in ranks]


def weights(clf):
    return {name: value.numpy() for name, value in clf.module_.state_dict().items()}


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # after five steps
@slow
@pytest.mark.parametrize("name", SAME_AS_ONE)
def test_several_processes_learn_what_one_does(processes, name):
    together = processes[0][0][name]
    alone = SAME_AS_ONE[name].fit(X, Y, sample_weight=WEIGHT)
    assert together.n_iter_ == alone.n_iter_
    # Sums in another order differ by 1e-16 of a gradient, and Adam divides by its size.
    for key, value in weights(alone).items():
        np.testing.assert_allclose(weights(together)[key], value, rtol=1e-7, atol=1e-9)
    for mean in ("train_adversarial_accuracy", "train_clean_accuracy"):
        expected = alone.net_.history[:, mean]  # a mean of float32
        np.testing.assert_allclose(together.net_.history[:, mean], expected, rtol=1e-6)
    assert together.loss_ == pytest.approx(alone.loss_, rel=1e-9)


@slow
def test_partial_fit_goes_on_as_in_one_process(processes):
    alone = RobustFCClassifier((16,), **DETERMINISTIC)
    alone.partial_fit(X[:100], Y[:100]).partial_fit(X[100:], Y[100:])
    for key, value in weights(alone).items():
        np.testing.assert_allclose(
            weights(processes[0][0]["partial"])[key], value, rtol=1e-7, atol=1e-9
        )


@slow
@pytest.mark.parametrize("name", [*SAME_AS_ONE, *SAME_IN_EACH])
def test_every_process_has_the_same_model_to_the_last_bit(processes, name):
    first = processes[0][0][name]
    for fitted, _ in processes[1:]:
        assert fitted[name].n_iter_ == first.n_iter_
        for key, value in weights(first).items():
            np.testing.assert_array_equal(weights(fitted[name])[key], value)


@slow
@pytest.mark.parametrize("name", ["random start and dropout", "batch norm", "free"])
def test_noise_of_their_own_trains_as_well_as_one_process(processes, name):
    together = processes[0][0][name]
    alone = SAME_IN_EACH[name].fit(X, Y, sample_weight=WEIGHT)
    assert not np.array_equal(together.decision_function(X), alone.decision_function(X))
    ours, theirs = (clf.robust_score(X, Y) for clf in (together, alone))
    # Two seeds of the same training differ by about 0.02 here.
    assert abs(ours - theirs) < 0.08
    assert ours > 0.5


@slow
def test_processes_with_data_or_parameters_of_their_own_are_told(processes):
    for _, errors in processes:
        for name in ("own data", "own parameters"):
            assert "those of [" in errors[name]
            assert "Pass all the data to each" in errors[name]
        assert "Pass checkpoint=None" in errors["checkpoint"]


def test_without_a_process_group_the_remedy_is_named():
    with pytest.raises(RuntimeError, match="torchrun --nproc-per-node=N"), data_parallel():
        pass


@slow
def test_the_script_in_the_guide_runs_as_shown(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "scaling.md"
    blocks = page.read_text().split("```py\n# train.py\n")
    assert len(blocks) == 2
    (tmp_path / "train.py").write_text(blocks[1].partition("```")[0])
    launch("train.py", 2, tmp_path)
    clf = joblib.load(tmp_path / "robust.joblib")
    assert clf.score(*load_digits(return_X_y=True)) > 0.9
