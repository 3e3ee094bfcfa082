"""What the docstrings of network classifiers say of the hyperparameters they share."""

# What a docstring says where it has the name of an entry in braces.
SECTIONS = {
    "input_ramp": """\
input_ramp : None, "auto", "fixed", "learnable" or (low, high), default="auto"
        Put ``clip((x - low) / (high - low), 0, 1)`` in front of the network: one threshold shared
        by all features, with knots in the units of X, scalars or one per feature. "auto" does so,
        for linf, where the training data lie near the ends of their range at the radius of the
        fit: where the adversary keeps less than two thirds of its influence, the mean distance it
        can move what the network sees, over the standard deviation there. Then the knots lie 1.1
        epsilon from the ends of `clip_values` (of the data, if None), per feature where ranges
        differ. ``input_ramp_`` says what was chosen. "fixed" and "learnable" begin with knots one
        epsilon from the ends, without looking; "learnable" trains them. This is a strong prior: it
        helps where most values lie near the ends, as in scans of text, and destroys information
        where they lie between. See `sklearn_robust.neural_network.InputRamp`.""",
    "shift_average": """\
shift_average : int or "auto", default=0
        Predict with the mean of the logits over an image and its shifts by up to this many pixels
        along either axis, see `sklearn_robust.neural_network.ShiftAverage`; attacks and
        certificates see that mean. Training, for which ``augmentation=RandomShift(1)`` goes with
        it, sees the network alone. Predictions, attacks and proofs cost ``4 * shift_average + 1``
        times as much. "auto" is 1 for images of at least 16 x 16 and 0 for all else.""",
    "parameters": """\
epsilon : float, array of shape (n_features,) or TabularThreat, default=0.1
        Radius of the adversary in training, in the units of X as passed. 0 is standard training;
        an array gives each feature its own radius. Against the changes of a table (without flips
        and budget) attacks take whole numbers for any; "fgsm" and "sabr" know balls alone.
    norm : {"linf", "l2", "l1"}, default="linf"
    pgd_steps : int, default=3
        Steps of the attack in training. One step costs a forward pass and an input gradient, so
        the training costs up to ``pgd_steps + 2`` times standard training.
    step_size : float, array or None, default=None
        Length of one step in the units of X; None: ``2.5 * epsilon / pgd_steps``.
    random_start : bool, default=True
        Start the attack at a point drawn uniformly from the ball.
    clip_values : None or (low, high), default=None
        Valid range of the data, scalars or one value per feature; adversarial points stay inside.
        None, as in Collins et al. (2019), lets them leave the range of the data.
    preprocessor : transformer or None, default=None
        A clone is fitted to the training data, with their weights where it takes any, and becomes
        the first layers of the network: `epsilon`, `clip_values` and all attacks stay in the units
        of X. It must be affine, such as StandardScaler or PCA, or otherwise differentiable; see
        `sklearn_robust.preprocessing`. `partial_fit` fits it to the first batch.
    training : str or TrainingObjective, default="auto"
        What is minimised. "auto": the loss under PGD at 1.1 epsilon, as robustness fades at the
        very radius of the training. By attack at epsilon itself: "pgd", "fgsm" (one step,
        watched for its known failure), "free", "trades", "mart". By bounds, so that robustness
        can be proven: "ibp", "crown-ibp". Between the two: "sabr", "mtl-ibp". An object sets what a
        name leaves at its default; see `sklearn_robust.neural_network.TrainingObjective`.
    epsilon_schedule : {"ramp", "constant"} or callable, default="ramp"
        "ramp" raises epsilon linearly over the first 30 % of the training, which keeps training
        at a large epsilon from collapsing to a constant output. A callable maps the progress in
        [0, 1] to the share of epsilon; see `sklearn_robust.neural_network.Ramp`.
    max_epochs : int or "auto", default="auto"
        "auto": as many as make about 900 steps of the optimizer, but from 16 to 60.
    batch_size : int or "auto", default="auto"
        "auto": a tenth of the samples, but from 32 to 128. -1: all samples in one batch.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        A callable such as a class from torch.optim is called with the parameters and ``lr``.
    optimizer_params : dict, optional
        Further arguments of the optimizer.
    lr : float or "auto", default="auto"
        "auto": 5e-3 under "one-cycle" where the library draws the weights, else 1e-3.
    lr_schedule : {"auto", "constant", "one-cycle", "multi-step"} or callable, default="auto"
        "auto": "one-cycle" in `fit`, "constant" in `partial_fit`, which does not know the end of
        the training. A callable maps the progress in [0, 1] to a factor of `lr`; see
        `sklearn_robust.neural_network.OneCycle` and `MultiStep`. Schedulers of torch come in
        through skorch's ``LRScheduler`` among the `callbacks`, with "auto" here; between calls
        of `partial_fit` they go on.
    max_grad_norm : float, optional
        Longer gradients are scaled down to this l2 length.
    weight_averaging : {"ema", "swa"}, EMA, SWA or None, default=None
        Predict with an average of the weights over the training, and judge early stopping by it;
        see `sklearn_robust.neural_network.EMA` and `SWA`. In `fit` only.
    augmentation : callable, "auto" or None, default="auto"
        Called with each training batch, a tensor in the shape of X, and a torch.Generator; returns
        the batch to train on, inside `clip_values`, in the same shape. See
        `sklearn_robust.neural_network.RandomShift`, which takes the classifier's `image_shape`.
        "auto" shifts by up to a pixel where samples are images of at least 16 x 16: passed in their
        shape, or rows that a convolutional network takes for images. It fills with the low end of
        the range.
    class_weight : dict, "balanced" or None, default=None
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the data, stop when the accuracy there under attack, or
        proven where bounds are trained, has not risen by `tol` for `n_iter_no_change` epochs, and
        keep the best epoch's weights. Epochs count once `epsilon_schedule` has reached its end.
    validation_fraction : float in (0, 1), default=0.1
    n_iter_no_change : int, default=5
    tol : float, default=1e-4
    warm_start : bool, default=False
        Go on from the last fit's weights, at full epsilon, with a fresh optimizer.
    checkpoint : path, optional
        Folder for the state of `fit` after every epoch, in a folder of its own for each set of
        parameters and data. The same fit, started again after an interruption, goes on from the
        last finished epoch, on the CPU bit for bit; another one begins anew. Needs an integer
        `random_state`. State of your own `callbacks` is not kept.
    callbacks : list of skorch callbacks, optional
        Copied before use; see ``net_`` for the net that they act on. The history has losses and
        accuracies; other scores come from skorch's ``EpochScoring(function, on_train=True,
        use_caching=False)``, called as ``function(net, data, None)``, where ``net.module_`` is in
        eval mode and ``data.X``, ``data.y`` and ``data.weight`` are tensors with all that is
        trained on, or with what is held out for early stopping if ``on_train=False``.
    dtype : {"float32", "float64", "bfloat16"}, default="float32"
        Precision of training and attacks. "bfloat16" computes the products of matrices in training
        with 8 bits and all else as "float32" does: 1.3 to 1.6 times as fast where the device has
        instructions for it (x86 processors with AVX512_BF16 or AMX, CUDA from Ampere on), many
        times slower elsewhere, of which a fit on x86 warns. Predictions are computed in float64
        always, so that they do not depend on which samples share a batch; so are training and
        attacks where fewer than 256 numbers of float32 lie within epsilon of a value of X, as with
        time stamps.
    device : str or torch.device, default="auto"
        "auto" takes CUDA where there is one, else the CPU.
    cuda_graphs : bool, default=True
        On a CUDA device, record a step of the training's attack as a CUDA graph and replay it,
        which spares small networks most of the time that launching takes. False: do not, for a
        network whose forward pass depends on what changes from batch to batch and is neither a
        parameter nor a buffer. Graphs hold device memory until `fit` ends, those of `partial_fit`
        as long as the estimator lives. Losses of your own are replayed if they say that they can
        be, `sklearn_robust.attacks.Loss`.
    random_state : int, RandomState, Generator or None, default=None
        Source of weights, order, noise and dropout; an int makes fits bit-identical on a CPU, and
        on CUDA as far as torch's own operations are, see ``torch.use_deterministic_algorithms``.
    verbose : int, default=0
        0 is silent, 1 prints a line per epoch, 2 adds a progress bar within the epoch.""",
    "attributes": """\
classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has feature names that are all strings.
    input_shape_ : tuple of int
        Shape of one sample.
    input_factor_ : float
        What the network multiplies X by: 1 / 255 for grey levels of type uint8, else 1.
    preprocessor_ : transformer
        The fitted `preprocessor`, if there is one.
    input_ramp_ : None, "fixed", "learnable" or (low, high)
        The ramp in front of the network; by ``input_ramp="auto"`` its knots, or None.
    module_ : torch.nn.Module
        From a batch in the shape of X to logits, preprocessing included, in eval mode: what any
        other torch tool may be pointed at.
    net_ : skorch.NeuralNet
        The net that trained it; ``net_.history`` has a row per epoch.
    n_iter_ : int
        Epochs trained.
    loss_ : float
        Training loss of the last epoch.""",
    "raises": """\
TypeError
        From the constructor, if there is no parameter of that name.
    ValueError
        If a hyperparameter or the data break their rule; of hyperparameters, from `fit` on.
    FloatingPointError
        From `fit`, if the loss or a weight becomes NaN or infinite; the model has the weights of
        the last finished epoch.
    UnsupportedLayerError
        From `fit`, if `training` is by bounds and the network holds a layer without any.
    NotFittedError
        From all that needs a fitted model.""",
}
