"""What a run may name of models, heads and optimisers, whichever library computes it. Nothing is imported before it is needed."""

from decoupled.registry import Registry

TORCH = "decoupled.pytorch"

MODELS = Registry(
    "model",
    {
        "mlp": "decoupled.nn.dense_model:DenseModel",
        "torch-mlp": f"{TORCH}.models.mlp:make",
        "vgg": f"{TORCH}.models.vgg:make",
        "resnet": f"{TORCH}.models.resnet:make",
        "gpt": f"{TORCH}.models.gpt:make",
    },
)

# The names alone: what each stands for, and whether a model has it, is its backend's matter.
IMITATORS = ("linear", "linear-label", "mlp-label", "dni-conv")  # heads that learn from gradients that come back alone
HEAD_NAMES = Registry("head", dict.fromkeys(("auto", "readout", "vector", "image", "sequence", *IMITATORS), ""))
OPTIMISER_NAMES = Registry("optimiser", dict.fromkeys(("adam", "sgd", "adamw", "nadam"), ""))

# Of trained networks that numpy does not compute: each makes one again of its recipe, its arrays and its targets.
BACKENDS = Registry("backend", {"pytorch": f"{TORCH}.trained:restored"})
