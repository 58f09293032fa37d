"""A trained model as a folder that others can load with diffusers and nothing of this project: its
transformer, its sampler, a name of its autoencoder, and a card that says what it is.

    share(run_subject(Path("runs/<run>"), torch.device("cpu")), Path("shared"), licence="CC BY 4.0")

    pipe = DiffusionPipeline.from_pretrained("shared", trust_remote_code=True)
    pipe(class_labels=[3, 5]).images

It samples by Euler's method as the protocol `ode50` does. The code of `model_repository` is copied
into the folder, and diffusers asks to be told that it may run it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from safetensors.torch import save_file

from bench.core.data.codecs import SCALE, Codec, StableDiffusion
from bench.core.metrics import facts_of
from bench.core.model.conditions import Classes
from bench.core.store.files import Json, atomic, write_json, write_text
from bench.core.store.runs import RunRecord, find_run
from bench.core.store.untrusted import printable
from bench.evaluation.subject import Subject

DIFFUSERS = "0.30.0"  # what the folder says it was written for: the lower bound of the extra vae
TIMESTEPS = 1000  # timesteps of diffusers' scheduler, from data to noise
CODE = {"pipeline.py": "", "sit.py": "transformer"}  # of model_repository -> where it goes
CARD_FILE = "README.md"
OF_A_MACHINE = ("runs=", "cache=", "compute.", "data.root=", "data.decoder=")  # words left out


def share(subject: Subject, out: Path, licence: str, decoder: Codec | None) -> Path:
    """Write the folder, its card last, so that a folder with a card is whole.

    licence: of the data, in words; decoder: of latents, None where pixels are made. Raises
    ValueError for what is not a picture, or is not told a class.
    """
    config = _transformer_config(subject)
    if decoder is not None and not isinstance(decoder, StableDiffusion):
        raise ValueError(
            "format=diffusers writes models of pixels and of Stable Diffusion's latents, and these "
            f"are of {decoder.kind}: choose another run"
        )
    transformer, scheduler = out / "transformer", out / "scheduler"
    transformer.mkdir(parents=True, exist_ok=True)
    (out / CARD_FILE).unlink(missing_ok=True)

    # the transformer
    write_json(transformer / "config.json", config)
    state = {
        key: value.detach().cpu().contiguous()
        for key, value in subject.backbone.state_dict().items()
    }
    needed = sum(value.numel() * value.element_size() for value in state.values())
    with atomic(transformer / "diffusion_pytorch_model.safetensors", needed=needed) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})

    # the sampler, and what puts both together
    write_json(
        scheduler / "scheduler_config.json",
        {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "_diffusers_version": DIFFUSERS,
            "num_train_timesteps": TIMESTEPS,
            "shift": 1.0,
        },
    )
    write_json(
        out / "model_index.json",
        {
            "_class_name": ["pipeline", "FlowPipeline"],
            "_diffusers_version": DIFFUSERS,
            "transformer": ["sit", "SiTTransformer"],
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "autoencoder": decoder.name if decoder else None,
            "latent_scale": SCALE if decoder else 1.0,
        },
    )
    code = resources.files("bench.evaluation.model_repository")
    for file, folder in CODE.items():
        write_text(out / folder / file, (code / file).read_text(encoding="utf-8"))

    write_text(out / CARD_FILE, model_card(subject, find_run(subject.folder), licence))
    return out


def _transformer_config(subject: Subject) -> Json:
    backbone, size = subject.backbone, subject.backbone.size
    grid, condition = backbone.grid, backbone.condition
    if len(grid.shape) != 2 or not isinstance(condition, Classes):
        told = "a class" if isinstance(condition, Classes) else "a text"
        raise ValueError(
            f"format=diffusers writes models of pictures that are told a class, and this one makes "
            f"data of shape {'x'.join(map(str, grid.shape))} and is told {told}: "
            "choose another run"
        )
    height, width = grid.shape
    return {
        "_class_name": "SiTTransformer",
        "_diffusers_version": DIFFUSERS,
        "height": height,
        "width": width,
        "channels": grid.channels,
        "patch": list(grid.patches),
        "depth": size.depth,
        "hidden": size.width,
        "heads": size.heads,
        "classes": condition.count,
    }


# The card -----------------------------------------------------------------------------------------

USE = """\
```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)
pictures = pipe(class_labels={labels}, num_inference_steps=50).images
```

`trust_remote_code` lets diffusers run `pipeline.py` and `transformer/sit.py` of this folder: read
them first, they are short. `guidance_scale=1.5` mixes in the velocity without a class."""


def model_card(subject: Subject, run: RunRecord | None, licence: str) -> str:
    """README.md: what the model is, how it is used, how it was trained and measured, and whose
    licence it is under.
    """
    arm = printable(run.arm) if run else subject.folder.name
    size, classes = subject.backbone.size, len(subject.prompts.rows)
    labels = list(range(min(4, classes)))
    about = {
        "arm": arm,
        "backbone": f"SiT, {size.name}: {size.depth} blocks of width {size.width}, "
        f"{sum(p.numel() for p in subject.backbone.parameters()) / 1e6:.2f}M parameters",
        "weights": f"{subject.weights}, after {subject.images:,} training images",
        "data": f"{printable(run.data) if run else ''} ({subject.data_name}), {classes} classes",
        "licence of the data": printable(licence),
    }
    if run:
        about |= {"seed": str(run.seed), "batch": str(run.batch)}
        words = " ".join(word for word in run.argv if not word.startswith(OF_A_MACHINE))
        about |= {"command": f"`python -m bench.run {printable(words)}`"}
    measured = _measured(run, subject.images) if run and not subject.average else []
    return (
        "\n\n".join(
            [
                f"---\nlibrary_name: diffusers\ntags: [flow-matching, {json.dumps(arm)}]\n---",
                f"# {arm}, {size.name}",
                "A flow-matching transformer from a benchmark of ways to give such models good "
                "representations. It is a research artefact: it was trained to be compared.",
                "## Use",
                USE.format(folder="THIS FOLDER", labels=labels),
                "## Training",
                _table(("what", "value"), about.items()),
                "## Measured",
                *(
                    [_table(("metric", "value", "n", "protocol"), measured)]
                    if measured
                    else ["Nothing was measured at this point of the training."]
                ),
                "Rows of unlike protocols do not compare; result files of the run hold each.",
            ]
        )
        + "\n"
    )


def _measured(run: RunRecord, images: int) -> list[tuple[str, str, str, str]]:
    """Numbers of the model (not of a layer) at a snapshot: metric, value, n, protocol in short."""
    found = []
    for row in run.results.rows:
        if row["images"] != images or row["value"] is None or row["block"] is not None:
            continue
        error = f" ± {row['stderr']:.2g}" if row["stderr"] else ""
        beside = facts_of(row["metric"]).real
        real = f" ({beside}: {row['real']:.4g})" if row["real"] is not None else ""
        said = f"{row['value']:.4g}{error}{real}"
        found.append((row["metric"], said, str(row["n"]), _protocol(row["protocol"])))
    return found


def _protocol(protocol: Json) -> str:
    """The sampler's name and steps, where samples were measured."""
    sampling = protocol.get("sampling")
    return f"{sampling['name']}, {sampling['steps']} steps" if sampling else ""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    rows = [head, ["---"] * len(head), *lines]
    cells = ([str(cell).replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
