"""What a model takes and gives by its configuration, and an ensemble that takes and gives the same."""

from __future__ import annotations

from dataclasses import dataclass

from trident.errors import GenerationError
from trident.generation.pbtxt import Field, read_fields

SCHEDULING = "ensemble_scheduling"


@dataclass(frozen=True)
class TensorContract:
    """A tensor of a configuration; ``dims`` are without the batch."""

    data_type: str
    dims: tuple[str, ...]
    optional: bool

    def __str__(self) -> str:
        """Return such as ``TYPE_INT64 [1], optional``."""
        return f"{self.data_type} [{', '.join(self.dims)}]{', optional' if self.optional else ''}"


@dataclass(frozen=True)
class Contract:
    """The tensors of a model by name."""

    inputs: dict[str, TensorContract]
    outputs: dict[str, TensorContract]

    @classmethod
    def of(cls, text: str) -> Contract:
        """Return the contract of a configuration.

        Raises:
            GenerationError: If the text is no configuration.
        """
        fields = read_fields(text)
        sides = [dict(_tensor(text, each) for each in fields if each.name == side) for side in ("input", "output")]
        return cls(sides[0], sides[1])

    def difference(self, other: Contract) -> str | None:
        """Return in words in what another contract differs, the first thing that does; None where it is the same."""
        for side, own, others in (("input", self.inputs, other.inputs), ("output", self.outputs, other.outputs)):
            for name in sorted(own.keys() | others.keys()):
                if own.get(name) != others.get(name):
                    return f"{side} '{name}' must be {own.get(name, 'absent')}, got {others.get(name, 'none')}"
        return None


def around(text: str, model: str, version: int) -> str:
    """Return the configuration of an ensemble with the contract of another, whose one step asks it for everything.

    An ensemble asks a step for all the outputs that it maps, whichever of them its own client wants.

    Args:
        text: The configuration of the other.
        model: Its name.
        version: That is asked; what a client is told of the version that answered is that of this step.

    Raises:
        GenerationError: If the text is no configuration of an ensemble.
    """
    steps = [field for field in read_fields(text) if field.name == SCHEDULING]
    if len(steps) != 1:
        raise GenerationError(f"an ensemble must have '{SCHEDULING}' once, got {len(steps)}")
    contract = Contract.of(text)
    start = text.rindex(SCHEDULING, 0, steps[0].start)
    maps = [("input", name) for name in contract.inputs] + [("output", name) for name in contract.outputs]
    lines = "".join(f'    {side}_map {{ key: "{name}" value: "{name}" }}\n' for side, name in maps)
    step = f'{SCHEDULING} {{\n  step {{\n    model_name: "{model}"\n    model_version: {version}\n{lines}  }}\n}}\n'
    return text[:start] + step + text[steps[0].end :].lstrip("\n")


def _tensor(text: str, field: Field) -> tuple[str, TensorContract]:
    def values(name: str) -> list[str]:
        return [text[each.start : each.end].strip("\"'") for each in field.named(name)]

    names, types = values("name"), values("data_type")
    if len(names) != 1 or len(types) != 1:
        raise GenerationError(f"a tensor of a model configuration must have 'name' and 'data_type' once, got {names}")
    dims = tuple(part for each in values("dims") for part in each.strip("[]").replace(",", " ").split())
    return names[0], TensorContract(types[0], dims, values("optional") == ["true"])
