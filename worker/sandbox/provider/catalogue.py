"""The models and workflows of the sandbox, as data."""

import math
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from worker.sandbox.provider.replies import JsonObject
from worker.sandbox.provider.tiers import Tier


class SandboxKind(StrEnum):
    """What can be run."""

    MODEL = "model"
    WORKFLOW = "workflow"


class SandboxMode(StrEnum):
    """How a run is requested."""

    ASYNC = "async"
    SYNC = "sync"


class Backend(StrEnum):
    """The provider behind a model; only kie polls, so only kie runs async."""

    KIE = "kie"
    FAL = "fal"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Output:
    """What a result holds: the number of URLs of each kind, and whether there is a text."""

    images: int = 0
    videos: int = 0
    audios: int = 0
    text: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One input in a target's schema."""

    name: str
    type: str = "string"
    default: object = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A model or a workflow. `nodes` are the model nodes, each of which costs credits."""

    kind: SandboxKind
    name: str
    title: str
    cost: int
    median_s: float
    output: Output
    sigma: float = 0.35
    cap_s: float = 600.0
    backend: Backend = Backend.KIE
    nodes: tuple[str, ...] = ()
    tier: Tier = Tier.FREE
    grant: int | None = None
    fields: tuple[Field, ...] = field(default=(Field("prompt"),))

    @property
    def supports_async(self) -> bool:
        """Whether `?async=true` works for it."""
        return self.backend is Backend.KIE


def _model(
    name: str, title: str, cost: int, median_s: float, output: Output, **rest: Any
) -> Target:
    kind = SandboxKind.MODEL
    return Target(kind, name, title, cost, median_s, output, nodes=(name,), **rest)


def _workflow(
    name: str, title: str, cost: int, median_s: float, output: Output, **rest: Any
) -> Target:
    return Target(SandboxKind.WORKFLOW, name, title, cost, median_s, output, **rest)


_VIDEO, _IMAGE, _SONGS, _TEXT = (
    Output(videos=1),
    Output(images=1),
    Output(audios=2),
    Output(text=True),
)

TARGETS = (
    _model("seedance-2-0", "Seedance 2.0", 40, 45.0, _VIDEO),
    _model("seedance-2-0-full-access", "Seedance 2.0 (full access)", 60, 60.0, _VIDEO),
    _model("suno", "Suno", 10, 30.0, _SONGS),
    _model("gpt-image-2", "GPT Image 2", 8, 20.0, _IMAGE),
    _model("kling-2-5", "Kling 2.5", 35, 40.0, _VIDEO, backend=Backend.FAL),
    _model("seedream-v5", "Seedream v5", 4, 6.0, _IMAGE, backend=Backend.FAL),
    _model("nano-banana-2", "Nano Banana 2", 3, 4.0, _IMAGE, backend=Backend.FAL),
    _model("claude-sonnet", "Claude Sonnet", 2, 3.0, _TEXT, backend=Backend.ANTHROPIC),
    _model("veo-4-ultra", "Veo 4 Ultra: Enterprise only", 120, 90.0, _VIDEO, tier=Tier.ENTERPRISE),
    _model("hailuo-trial", "Hailuo: three trial runs below Enterprise", 25, 30.0, _VIDEO, grant=3),
    _workflow(
        "my-pipeline",
        "Picture, song and film",
        78,
        75.0,
        Output(images=1, videos=1, audios=1),
        nodes=("gpt-image-2", "suno", "seedance-2-0-full-access"),
    ),
    _workflow(
        "product-shots",
        "Product shots",
        16,
        25.0,
        Output(images=4),
        nodes=("gpt-image-2", "gpt-image-2"),
        fields=(
            Field("product_image", required=True),
            Field("prompt"),
            Field("count", "number", 4),
        ),
    ),
    _workflow(
        "caption-images",
        "Captions, sync only",
        5,
        5.0,
        Output(images=1, text=True),
        nodes=("nano-banana-2", "claude-sonnet"),
        backend=Backend.FAL,
    ),
)

CATALOGUE: dict[tuple[SandboxKind, str], Target] = {(t.kind, t.name): t for t in TARGETS}


def draw_duration(rng: random.Random, median_s: float, sigma: float, cap_s: float) -> float:
    """Draw a lognormal duration: `median · exp(sigma · N(0, 1))`, capped."""
    return min(cap_s, median_s * math.exp(sigma * rng.gauss(0.0, 1.0)))


def make_result(target: Target, execution_id: str) -> JsonObject:
    """Return the result of a run of `target`: arrays of URLs, and a text where it makes one."""
    base = f"https://cdn.knouds.example/{execution_id}"
    output = target.output
    result: JsonObject = {}
    for name, count, ending in (
        ("images", output.images, "png"),
        ("videos", output.videos, "mp4"),
        ("audios", output.audios, "mp3"),
    ):
        if count:
            result[name] = [f"{base}/{n}.{ending}" for n in range(count)]
    if output.text:
        result["text"] = f"A text by {target.title}."
    return result


@dataclass(slots=True)
class ListedWorkflow:
    """A workflow as the provider lists it, which an admin may change."""

    slug: str
    title: str
    price: float | None
    """None: the workflow has no generator node."""
    archived: bool = False
    hidden: bool = False

    def view(self) -> JsonObject:
        """Return its entry in the list."""
        return {
            "slug": self.slug,
            "name": self.title,
            "description": self.title,
            "tags": [],
            "isTemplate": False,
            "hidden": self.hidden,
            "archived": self.archived,
            "estimatedCreditCost": self.price,
            "folderId": None,
            "createdBy": "user_sandbox",
            "updatedAt": "2026-05-08T19:29:55.000Z",
        }


def listed_workflows() -> dict[str, ListedWorkflow]:
    """Return the list that a sandbox begins with, by slug."""
    found = [t for t in TARGETS if t.kind is SandboxKind.WORKFLOW]
    return {t.name: ListedWorkflow(t.name, t.title, t.cost) for t in found}


_OPTIONS_FIELD = {"name": "sandbox", "type": "object", "default": None, "required": False}
"""`inputs.sandbox`, which every workflow of the sandbox takes."""


def schema_of(target: Target) -> JsonObject:
    """Return the response to the schema call."""
    return {
        "name": target.title,
        "description": f"{target.title}: {' → '.join(target.nodes)}",
        "fields": [
            {"name": f.name, "type": f.type, "default": f.default, "required": f.required}
            for f in target.fields
        ]
        + [_OPTIONS_FIELD],
        "values": {f.name: f.default for f in target.fields},
        "estimatedCreditCost": target.cost,
    }
