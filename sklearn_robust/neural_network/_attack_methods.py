"""The methods of network classifiers that attack: scores, perturbed samples, input gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import draw_seed, truth_columns, weighted_share
from sklearn_robust.attacks import PGD
from sklearn_robust.attacks._evaluation import Verdict, evaluate
from sklearn_robust.attacks._losses import ExactCrossEntropy
from sklearn_robust.attacks._model import as_predicting
from sklearn_robust.attacks._options import choose_attack


class AttackMethods:
    """What a network classifier answers under attack, from how it reads, encodes and predicts."""

    # Of the classifier.
    pgd_steps: int
    step_size: Any
    random_start: bool
    _read: Any
    _encode: Any
    _threat: Any
    _model: Any
    _pieces: Any
    _predict_index: Any

    def robust_score(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        epsilon: Any = None,
        norm: str | None = None,
        clip_values: Any = "own",
        attack: Any = "auto",
        n_steps: int | None = None,
        step_size: Any = None,
        n_restarts: int | None = None,
        random_state: Any = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> float:
        """Return the accuracy under attack: an upper bound of the robust accuracy.

        The same as `sklearn_robust.robust_score` of this estimator, which says more.

        Parameters
        ----------
        X, y, sample_weight
            As in `score`.
        epsilon, norm, clip_values
            What the adversary may do. None and "own": what the estimator was trained with.
        attack, n_steps, step_size, n_restarts, random_state, n_jobs, verbose
            How the attack is run, as in `sklearn_robust.robust_score`.

        Returns
        -------
        score : float in [0, 1]
        """
        verdict = self._attacked(
            X,
            y,
            epsilon=epsilon,
            norm=norm,
            clip_values=clip_values,
            attack=attack,
            n_steps=n_steps,
            step_size=step_size,
            n_restarts=n_restarts,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        return weighted_share(verdict.robust, sample_weight)

    def perturb(
        self,
        X: Any,
        y: Any,
        *,
        epsilon: Any = None,
        norm: str | None = None,
        clip_values: Any = "own",
        n_steps: int | None = None,
        step_size: Any = None,
        random_state: Any = 0,
    ) -> np.ndarray:
        """Return the adversarial batch for (X, y).

        Misclassified samples come back as they are (Algorithm 1). The attack is PGD; for another
        one, see `sklearn_robust.metrics.perturb`.

        Parameters
        ----------
        X, y, epsilon, norm, clip_values, random_state
            As in `robust_score`.
        n_steps : int, optional
            None: the estimator's `pgd_steps`, with its `step_size` unless one is given.
        step_size : float or array, optional
            None with `n_steps`: ``2.5 * epsilon / n_steps``.

        Returns
        -------
        X_adv : ndarray in the shape of X
        """
        if n_steps is None:
            n_steps, step_size = self.pgd_steps, self.step_size if step_size is None else step_size
        attack = PGD(n_steps, step_size, random_start=self.random_start, keep="fooling")
        threat = self._threat(epsilon, norm, clip_values)
        shape = np.shape(X)
        return self._evaluate(X, y, threat, attack, draw_seed(random_state)).X_adv.reshape(shape)

    def input_gradients(self, X: Any, y: Any = None) -> np.ndarray:
        """Return the gradient of the cross-entropy with respect to the input, in the shape of X.

        Computed in float64, so that confident samples do not underflow to 0.

        Parameters
        ----------
        X : array-like
            Samples, as in `fit`.
        y : array-like of shape (n_samples,), optional
            Labels whose loss is meant. None: the predicted ones.

        Returns
        -------
        gradients : float64 ndarray in the shape of X
        """
        shape = np.shape(X)
        X = self._read(X)
        labels = self._predict_index(X) if y is None else self._encode(y, len(X))
        model = self._model(torch.float64)
        gradients = np.empty(X.shape)
        with as_predicting(model.module):
            for pick in self._pieces(model, X):
                x, y = model.asarray(X[pick]), model.labels(labels[pick])
                gradients[pick] = model.derivative(x, y, ExactCrossEntropy())[1].cpu()
        return gradients.reshape(shape)

    def _attacked(
        self,
        X: Any,
        y: Any,
        *,
        epsilon: Any,
        norm: str | None,
        clip_values: Any,
        attack: Any,
        random_state: Any,
        n_jobs: int | None,
        verbose: int,
        **options: Any,
    ) -> Verdict:
        """Return what an attack by name leaves standing; parameters as in `robust_score`."""
        threat = self._threat(epsilon, norm, clip_values)
        chosen = choose_attack(attack, **options)
        seed = draw_seed(random_state)
        return self._evaluate(X, y, threat, chosen, seed, n_jobs=n_jobs, verbose=verbose)

    def _evaluate(
        self, X: Any, y: Any, threat: ThreatModel, attack: Any, seed: int, **options: Any
    ) -> Verdict:
        threat = threat.sparing(truth_columns(X))
        X = self._read(X)
        labels = self._encode(y, len(X))
        threat.check_data(X)
        model = self._model(threat=threat, X=X)
        return evaluate(model, X, labels, threat, attack, self._predict_index, seed=seed, **options)
