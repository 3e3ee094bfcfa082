"""Steps of an attack recorded once and replayed: everywhere the same as step by step."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD, CrossEntropy, ThreatModel, TorchModel, _search
from sklearn_robust.neural_network import (
    AdversarialCrossEntropy,
    RandomShift,
    _graphs,
    recordable,
)
from sklearn_robust.neural_network.objectives import TRADES, AdversarialWeightPerturbation

X, Y = load_digits(return_X_y=True)
X, Y = X[:150] / 16, Y[:150]
TRAININGS = ["pgd", "fgsm", "free", "trades", "mart", "sabr", "mtl-ibp",
             AdversarialWeightPerturbation(TRADES()),
             AdversarialCrossEntropy(PGD(3, momentum=0.9))]  # fmt: skip
by_training = pytest.mark.parametrize(
    "training", TRAININGS, ids=lambda t: t if isinstance(t, str) else type(t).__name__
)
pytestmark = pytest.mark.filterwarnings("ignore:The network predicts one class")


@pytest.fixture
def recorded(monkeypatch):
    """Take the CPU for a device, where a recorded step is the step; return what was recorded."""
    steps = []

    def record(step, device):
        steps.append(step)
        return step

    usable = _graphs.usable
    monkeypatch.setattr(_graphs, "record", record)
    monkeypatch.setattr(_search, "works_ahead", lambda x: True)
    monkeypatch.setattr(
        _graphs,
        "usable",
        lambda device, module, fixed: (
            device.type == "cpu" and usable(torch.device("cuda"), module, fixed)
        ),
    )
    is_recordable = _graphs._is_recordable
    monkeypatch.setattr(
        _graphs, "_is_recordable", lambda loss, device: is_recordable(loss, torch.device("cpu"))
    )
    return steps


def network(**parameters):
    settings = {
        "epsilon": 0.2, "clip_values": (0, 1), "pgd_steps": 3, "max_epochs": 3, "batch_size": 40,
        "device": "cpu", "random_state": 0,
    }  # fmt: skip
    return RobustCNNClassifier(
        filters=(4, 4), hidden_layer_sizes=(8,), **{**settings, **parameters}
    )


def weights(clf):
    return {name: value.numpy(force=True) for name, value in clf.module_.state_dict().items()}


def assert_same(clf, other):
    for name, value in weights(other).items():
        np.testing.assert_array_equal(weights(clf)[name], value, err_msg=name)


@by_training
def test_a_training_with_recorded_steps_is_the_same(training, recorded):
    ramp = None if training == "free" else "learnable"
    clf = network(training=training, input_ramp=ramp, augmentation=RandomShift(1))
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    assert not recorded
    clf.fit(X, Y)
    assert bool(recorded) == (training != "free")  # whose attack is the training pass
    assert len(recorded) <= 2  # whole batches and the last one, whatever epsilon they have
    assert_same(clf, expected)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
def test_other_norms_and_boxes(norm, clip_values, recorded):
    clf = network(norm=norm, clip_values=clip_values, epsilon=0.5 * np.ones(64))
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    assert_same(clf.fit(X, Y), expected)
    assert len(recorded) == 2


def test_averaged_weights_in_bfloat16_with_early_stopping(recorded):
    clf = network(
        weight_averaging="ema", dtype="bfloat16", batch_norm=True, early_stopping=True,
        validation_fraction=0.2,
    )  # fmt: skip
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    assert_same(clf.fit(X, Y), expected)
    assert len(recorded) == 2  # three batches of 40, and 30 samples of validation


def test_graphs_go_with_the_training(recorded):
    clf = network().fit(X, Y)
    assert recorded
    assert clf.net_.graphs is None
    n = len(recorded)
    clf.robust_score(X, Y)
    assert len(recorded) == n  # an attack on a fitted model is none of a training's


def test_calls_of_partial_fit_share_graphs_and_copies_have_none(recorded):
    clf = network().partial_fit(X[:120], Y[:120])
    assert len(recorded) == 1
    clf.partial_fit(X[30:], Y[30:])
    assert len(recorded) == 1
    copy.deepcopy(clf).partial_fit(X[:120], Y[:120])
    assert len(recorded) == 2
    clf.set_params(cuda_graphs=False).partial_fit(X[:120], Y[:120])
    assert len(recorded) == 2
    assert clf.net_.graphs is None


def test_graphs_go_with_a_training_that_fails(recorded):
    class Failing(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyError("a callback of the user's")

    clf = network(callbacks=[Failing()])
    with pytest.raises(KeyError, match="the user's"):
        clf.fit(X, Y)
    assert recorded
    assert clf.net_.graphs is None


def test_an_objective_that_keeps_its_context_keeps_no_graphs_in_a_file(recorded):
    class Keeping(AdversarialCrossEntropy):
        def loss(self, module, X, y, context):
            self.context = context
            return super().loss(module, X, y, context)

    clf = network(training=Keeping()).fit(X, Y)
    assert recorded
    kept = clf.net_.objective.context.graphs
    assert kept._graphs
    assert not copy.deepcopy(kept)._graphs


def perturbed(graphs, module, y, loss, n=2, kind=_graphs.RecordingModel):
    model = TorchModel(module, 3) if graphs is None else kind(module, 3, graphs)
    attack, threat = PGD(3, loss=loss, only_correct=False), ThreatModel(0.3)
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    return [
        attack.perturb(model, x + i, y, threat, torch.Generator().manual_seed(0)) for i in range(n)
    ]


class Scaled(CrossEntropy):
    factor = 1.0

    def __init__(self, factor=None):
        if factor is not None:
            self.factor = factor

    def direction(self, logits, y):
        return self.factor * super().direction(logits, y)


@recordable
class RecordableScaled(Scaled):
    pass


class Likeness:
    """A loss by its methods alone."""

    __slots__ = ("factor",)
    name = "likeness"

    def __init__(self, factor):
        self.factor = factor

    def direction(self, logits, y):
        return self.factor * CrossEntropy().direction(logits, y)


@pytest.mark.parametrize("kind", [Scaled, RecordableScaled, Likeness])
def test_what_a_loss_holds_beside_tensors_is_not_recorded(recorded, kind):
    module, y = torch.nn.Linear(3, 3), torch.tensor([0, 1, 2, 0])
    graphs = _graphs.StepGraphs()
    for factor in (1.0, -1.0):
        loss = kind(factor)
        expected = perturbed(None, module, y, loss)
        assert all(map(torch.equal, perturbed(graphs, module, y, loss), expected))
    assert not recorded
    perturbed(graphs, module, y, CrossEntropy())
    assert len(recorded) == 1


def test_a_loss_of_the_user_is_recorded_if_it_says_so_of_itself(recorded):
    class Further(RecordableScaled):
        pass

    module, y = torch.nn.Linear(3, 3), torch.tensor([0, 1, 2, 0])
    for kind, n_graphs in ((Scaled, 0), (Further, 0), (RecordableScaled, 1)):
        loss = kind()
        found = perturbed(_graphs.StepGraphs(), module, y, loss)
        assert all(map(torch.equal, found, perturbed(None, module, y, loss)))
        assert len(recorded) == n_graphs
    loss = RecordableScaled(torch.tensor(2.0))
    assert all(
        map(
            torch.equal,
            perturbed(_graphs.StepGraphs(), module, y, loss),
            perturbed(None, module, y, loss),
        )
    )
    assert len(recorded) == 2  # a tensor on the device of the points


def test_a_loss_that_carries_a_gradient_does_not_grow(recorded):
    @recordable
    class Reference(CrossEntropy):
        def __init__(self, reference):
            self.reference = reference

        def direction(self, logits, y):
            return logits - self.reference

    module, y = torch.nn.Linear(3, 3), torch.tensor([0, 1, 2, 0])
    graphs = _graphs.StepGraphs()
    for _ in range(3):
        perturbed(graphs, module, y, Reference(module(torch.ones(4, 3))))
    (graph,) = filter(None, graphs._graphs.values())
    assert graph._fixed[2].reference.grad_fn is None


def test_a_network_seen_in_another_way_has_its_own_graph(recorded):
    class Backwards(_graphs.RecordingModel):
        def ascent(self, X, y, loss, leak=0.0):
            logits, gradient = super().ascent(X, y, loss, leak)
            return logits, -gradient

    module, y = torch.nn.Linear(3, 3), torch.tensor([0, 1, 2, 0])
    graphs = _graphs.StepGraphs()
    found = perturbed(graphs, module, y, CrossEntropy())
    other = perturbed(graphs, module, y, CrossEntropy(), kind=Backwards)
    assert len(recorded) == 2
    assert not any(map(torch.equal, found, other))


def test_runs_on_what_is_left_are_not_recorded(recorded):
    clf = network(training=AdversarialCrossEntropy(PGD(3, n_restarts=2)))
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    assert_same(clf.fit(X, Y), expected)
    assert not recorded


def test_a_step_made_to_record_leaves_no_trace(recorded):
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 10)
            self.register_buffer("n", torch.zeros(1))

        def forward(self, x):
            self.n += 1
            return self.linear(x.flatten(1)) + 0.1 * torch.rand(len(x), 10)

    clf = RobustNeuralNetClassifier(
        Counting(), epsilon=0.2, pgd_steps=3, max_epochs=3, batch_size=40, device="cpu",
        random_state=0,
    )  # fmt: skip
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    assert_same(clf.fit(X, Y), expected)
    assert recorded


def test_a_layer_that_computes_on_the_host_is_not_recorded(recorded):
    network(preprocessor=FunctionTransformer(np.log1p)).fit(X, Y)  # a warning would be an error
    assert not recorded


class Asking(torch.nn.Linear):
    """A layer that looks at a value."""

    def forward(self, x):
        return super().forward(x) * (1.0 if x.sum().item() > -1e9 else 2.0)


class Choosing(torch.nn.Linear):
    """A layer with a shape that depends on values."""

    def forward(self, x):
        return super().forward(x) + 0 * x[x > 0].sum()


@pytest.mark.parametrize("layer", [Asking, Choosing])
def test_a_network_that_asks_the_host_is_found_before_it_is_recorded(recorded, layer):
    clf = RobustNeuralNetClassifier(
        layer(64, 10), epsilon=0.1, max_epochs=3, batch_size=40, device="cpu", random_state=0
    )
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    with pytest.warns(UserWarning, match="the host would have to wait"):
        clf.fit(X, Y)
    assert not recorded
    assert_same(clf, expected)


@pytest.mark.parametrize(
    ("work", "allowed"),
    [
        (lambda x: x.to("meta"), False),
        (lambda x: torch.empty(2, device="meta").copy_(x), False),
        (lambda x: torch.zeros((), device="meta").copy_(x.sum()), False),
        (lambda x: x.to(torch.float64), True),
        (lambda x: torch.empty(2, device="meta") * torch.tensor(2.0), True),
    ],
)
def test_what_goes_from_device_to_device_is_found(work, allowed):
    x = torch.ones(2)
    with _graphs.Unasking():
        if allowed:
            work(x)
        else:
            with pytest.raises(RuntimeError, match="two devices"):
                work(x)


def test_a_loss_aimed_elsewhere_and_new_weights_are_seen(recorded):
    module, y = torch.nn.Linear(3, 3), torch.tensor([0, 1, 2, 0])
    graphs = _graphs.StepGraphs()
    for target in (1, 2):
        aimed = CrossEntropy().at((y + target) % 3)
        expected = perturbed(None, module, y, aimed)
        assert all(map(torch.equal, perturbed(graphs, module, y, aimed), expected))
    assert len(recorded) == 1  # the target is a tensor
    module.weight = torch.nn.Parameter(-module.weight.detach())  # elsewhere in memory
    expected = perturbed(None, module, y, aimed)
    assert all(map(torch.equal, perturbed(graphs, module, y, aimed), expected))
    assert len(recorded) == 2


def test_there_are_only_so_many_graphs(recorded):
    graphs = _graphs.StepGraphs()
    for width in range(1, 12):
        module = torch.nn.Linear(3, width + 1)
        perturbed(graphs, module, torch.zeros(4, dtype=torch.long), CrossEntropy(), 3)
    assert len(recorded) == _graphs._MOST


def test_a_network_that_cannot_be_recorded_is_trained_without(recorded, monkeypatch):
    def fail(step, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    clf = network(cuda_graphs=False).fit(X, Y)
    monkeypatch.setattr(_graphs, "record", fail)
    with pytest.warns(UserWarning, match=r"not permitted.*Pass cuda_graphs=False") as caught:
        other = network().fit(X, Y)
    assert sum("CUDA graph" in str(w.message) for w in caught) == 1
    assert_same(other, clf)


def test_the_parameter_is_checked():
    with pytest.raises(ValueError, match="cuda_graphs must be"):
        network(cuda_graphs="yes").fit(X, Y)


# On a CUDA device ---------------------------------------------------------------------------------

with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def counted(monkeypatch):
    """Return a list that grows by each graph."""
    steps, record = [], _graphs.record
    monkeypatch.setattr(
        _graphs, "record", lambda step, device: steps.append(step) or record(step, device)
    )
    return steps


def assert_replayed_is_the_loop(clf, X, Y, counted, *, on="cuda"):
    clf.set_params(device=on)
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    assert not counted
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The steps of the attack")
        clf.fit(X, Y)
    # Kernels and order of summation are the same; the gradient of a sum over rows may be atomic.
    for name, value in weights(expected).items():
        np.testing.assert_allclose(weights(clf)[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@with_cuda
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@by_training
def test_on_cuda_recorded_steps_are_those_of_the_loop(training, norm, counted):
    if training == "sabr" and norm != "linf":
        pytest.skip("its boxes are of linf")
    clf = RobustFCClassifier(
        (16,), training=training, norm=norm, epsilon=0.2, clip_values=(0, 1), pgd_steps=3,
        max_epochs=3, batch_size=40, random_state=0,
    )  # fmt: skip
    assert_replayed_is_the_loop(clf, X, Y, counted)
    assert bool(counted) == (training != "free")


@with_cuda
@pytest.mark.parametrize(
    "parameters",
    [
        {"input_ramp": "learnable"},
        {"batch_norm": True, "dropout": 0.4},
        {"downsampling": "stride", "shift_average": 1, "augmentation": RandomShift(1)},
        {"weight_averaging": "ema", "early_stopping": True, "validation_fraction": 40 / 150},
    ],
    ids=lambda p: next(iter(p)),
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_cuda_cnns_too(parameters, dtype, counted):
    clf = network(**{"dropout": 0.0, "dtype": dtype, "max_epochs": 1, **parameters})
    torch.backends.cudnn.deterministic, before = True, torch.backends.cudnn.deterministic
    try:
        assert_replayed_is_the_loop(clf, X.reshape(-1, 8, 8), Y, counted)
    finally:
        torch.backends.cudnn.deterministic = before
    assert counted


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_on_cuda_each_device_has_its_graphs(counted):
    for device in ("cuda:0", "cuda:1"):
        clf = network(dropout=0.0, max_epochs=1)
        assert_replayed_is_the_loop(clf, X.reshape(-1, 8, 8), Y, counted, on=device)
        assert counted
        counted.clear()


@with_cuda
def test_on_cuda_a_recording_that_fails_leaves_torch_as_it_was(counted, monkeypatch):
    class Free(_graphs.Unasking):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    clf = RobustNeuralNetClassifier(
        torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Dropout(0.4), Asking(16, 10)),
        epsilon=0.1, max_epochs=3, batch_size=40, device="cuda", random_state=0,
    )  # fmt: skip
    expected = copy.deepcopy(clf).set_params(cuda_graphs=False).fit(X, Y)
    with pytest.warns(UserWarning, match="the host would have to wait"):
        clf.fit(X, Y)
    np.testing.assert_allclose(
        clf.decision_function(X), expected.decision_function(X), rtol=1e-3, atol=1e-3
    )
    assert not counted
    monkeypatch.setattr(_graphs, "Unasking", Free)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        clf.set_params(module=torch.nn.Sequential(Asking(64, 10))).fit(X, Y)
    assert len(counted) == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    counted.clear()
    assert_replayed_is_the_loop(network(dropout=0.0), X.reshape(-1, 8, 8), Y, counted)
    assert counted
