"""
A pretrained torch model
========================

You have a trained ``torch.nn.Module`` and want to know how robust it is. All functions take it as
it is, in the shape of its inputs: nothing is wrapped, nothing is trained again, and its weights
and flags stay as they were.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_robust import adversarial_distance, evaluate_robustness, perturb

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32").reshape(-1, 1, 8, 8)

# %%
# This stands for the model that you already have. It would be loaded from its file.
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
images, labels = torch.tensor(X[:1200]), torch.tensor(y[:1200])
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
model.eval()

# %%
# Robustness on images that the model has not seen. "attacked" is an upper bound of its robust
# accuracy, found by an ensemble of attacks along gradients; "certified" is a lower bound, proven
# by linear bounds of the network.
X_test, y_test = X[1200:1300], y[1200:1300]
report = evaluate_robustness(model, X_test, y_test, [0.02, 0.05, 0.1], clip_values=(0, 1))
print(report)
report.plot()

# %%
# The images in which the attack changes the prediction, at a tenth of the range of grey levels.
X_adv = perturb(model, X_test, y_test, epsilon=0.1, clip_values=(0, 1))
with torch.no_grad():
    before, after = (model(torch.as_tensor(a)).argmax(1).numpy() for a in (X_test, X_adv))
changed = ((before == y_test) & (after != y_test)).nonzero()[0][:6]
fig, axes = plt.subplots(2, 6, figsize=(8, 3), layout="constrained")
for column, i in zip(axes.T, changed, strict=True):
    for ax, image, label in zip(column, (X_test[i], X_adv[i]), (before[i], after[i]), strict=True):
        ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        ax.set_title(f"seen as {label}", fontsize=9)
        ax.set_axis_off()

# %%
# The distance to the nearest mistake, an upper bound for networks, says which images are fragile.
distance = adversarial_distance(model, X_test, y_test, clip_values=(0, 1))
fig, ax = plt.subplots(layout="constrained")
ax.hist(distance, bins=20)
ax.set(xlabel="linf distance to the nearest mistake found", ylabel="images")
