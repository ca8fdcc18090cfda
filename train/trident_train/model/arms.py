"""The arms of the experiment: the pretrained model, the model with low-rank adapters, the model trained in full.

Adapters go on the bare transformers model, and the full model is trained bare, so that the saved names fit the model
they are loaded on.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from trident.errors import ConfigError
from trident_train.model.narrow_adapters import NarrowAdapter
from trident_train.recipe import LoraRecipe, TrainRecipe

UNREACHED = "pooler"  # weights of a BERT that the loss never reaches: pooling is ours


def arm_of(model: Any, recipe: TrainRecipe) -> Any:
    """Return the model with exactly the weights trainable that the recipe's method trains.

    Args:
        model: A bare transformers model; changed in place.
        recipe: Its method, and whether activations are computed again instead of kept.

    Raises:
        ConfigError: As for ``add_adapters``.
    """
    compute_again(model, recipe)
    if recipe.method == "lora":
        model = add_adapters(model, recipe.lora, base_model=recipe.base_model)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(recipe.method == "full" and UNREACHED not in name)
    return model


def compute_again(model: Any, recipe: TrainRecipe) -> None:
    """Have a transformers model compute activations again instead of keeping them, where the recipe wants that."""
    if recipe.optimizer.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def add_adapters(model: Any, recipe: LoraRecipe, *, base_model: str) -> Any:
    """Return the model with LoRA adapters; only their weights train.

    Args:
        model: A bare transformers model (not a wrapper: an adapter's names must fit what it is loaded on).
        recipe: Rank, scaling, targets.
        base_model: Written into the adapter, so that it names what it belongs to.

    Raises:
        ConfigError: If no layer has one of the target names, or the model has fewer layers than the recipe adapts.

    Source: Hu et al. 2021, LoRA; the library is PEFT.
    """
    targets = targets_of(model, recipe)
    layers = model.config.num_hidden_layers
    top = recipe.top_layers or layers
    if top > layers:
        raise ConfigError(f"lora.top_layers must be <= {layers}, the layers of the model, got {top}")
    has_pooler = any(UNREACHED in name for name, _ in model.named_modules())
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        layers_to_transform=None if recipe.top_layers is None else list(range(layers - top, layers)),
        exclude_modules=rf".*{UNREACHED}.*" if has_pooler else None,  # PEFT warns where none is excluded
        bias="none",
    )
    config._register_custom_module({torch.nn.Linear: NarrowAdapter})
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base_model  # PEFT writes this machine's path
    return adapted


def targets_of(model: Any, recipe: LoraRecipe) -> list[str]:
    """Return the names of the linear layers that get adapters.

    Raises:
        ConfigError: If no layer has one of the target names.
    """
    linear = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    if recipe.targets == ("all-linear",):
        return sorted(linear)
    unknown = [target for target in recipe.targets if target not in linear]
    if unknown:
        raise ConfigError(
            f"lora.targets: no linear layer is called '{unknown[0]}', the model has {', '.join(sorted(linear))}"
        )
    return list(recipe.targets)


def trained_weights(model: Any) -> int:
    """Return how many weights of a model train."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
