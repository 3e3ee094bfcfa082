"""
A pretrained torch module
=========================

A network that somebody else trained is evaluated as it is: attacked along its gradients, certified
where its layers are known, drawn.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_robust import evaluate_robustness
from sklearn_robust.inspection import AdversarialExamplesDisplay, RobustnessCurveDisplay

X, y = load_digits(return_X_y=True)
images = X.reshape(-1, 1, 8, 8).astype("float32") / 16

# %%
# This stands for your own ``torch.load``: normalisation is part of the module, so that radii are in
# grey levels.
torch.manual_seed(0)


class Normalize(nn.Module):
    def forward(self, x):
        return (x - 0.3) / 0.4


module = nn.Sequential(
    Normalize(),
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(128, 10),
)
optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
for _ in range(150):
    optimizer.zero_grad()
    logits = module(torch.tensor(images[:1400]))
    nn.functional.cross_entropy(logits, torch.tensor(y[:1400])).backward()
    optimizer.step()

# %%
# Solid: under attack. Dashed: certified. The truth lies between.
X_test, y_test = images[1400:1600], y[1400:1600]
report = evaluate_robustness(module, X_test, y_test, [0.01, 0.03, 0.06], clip_values=(0, 1))
print(report)
RobustnessCurveDisplay.from_report(report)

# %%
# What the adversary did. In the last row red was added and blue was taken away.
AdversarialExamplesDisplay.from_estimator(
    module, X_test[:6], y_test[:6], epsilon=0.1, clip_values=(0, 1)
)
