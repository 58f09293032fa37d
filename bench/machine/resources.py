"""Files from outside that the benchmark names: where they lie, come from, and which are here.

    reference("imagenet256", Path("runs/cache"))      # [Resource(...)]
    for finding in staged(Path("runs/cache")): ...    # of everything that is named without a choice

`bench.prepare` fetches them, `bench.doctor` looks for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.config.groups import encoder_option, locate, options
from bench.config.schema import Option
from bench.core.metrics import find_entry, metric_entries
from bench.core.store.npm import NpmPackage
from bench.core.store.staging import Resource
from bench.machine.host import Finding

_ADM = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet"
REFERENCES = {
    "imagenet256": f"{_ADM}/256/VIRTUAL_imagenet256_labeled.npz",
    "imagenet512": f"{_ADM}/512/VIRTUAL_imagenet512.npz",
}
VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


@dataclass(frozen=True)
class StagedVae:
    """repository: at Hugging Face; megabytes: of the weights; folder: of the repository that has
    the autoencoder; called: the folder that it is staged as, None for the word of bench.prepare.
    """

    repository: str
    megabytes: float | None = None
    folder: str = ""
    called: str | None = None


VAES = {
    "ema": StagedVae("stabilityai/sd-vae-ft-ema", 335, called="sd-vae-ft-ema"),
    "mse": StagedVae("stabilityai/sd-vae-ft-mse", 335, called="sd-vae-ft-mse"),
    "rae_dinov2_b": StagedVae("nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08"),
    "flux2": StagedVae("black-forest-labs/FLUX.2-klein-4B", folder="vae/"),
    "wan22": StagedVae("Wan-AI/Wan2.2-TI2V-5B-Diffusers", folder="vae/"),
    "oobleck": StagedVae("stabilityai/stable-audio-open-1.0", folder="vae/"),
    "oobleck_25hz": StagedVae("ACE-Step/acestep-v15-xl-turbo-diffusers", folder="vae/"),
}


def inception() -> list[Resource]:
    """torch-fidelity's Inception weights."""
    return locate("probes.extractors.inception:inception_files")()


def of_metric(name: str) -> list[Resource]:
    """What a metric's published network needs; name: of an entry that says where that is told."""
    return locate(metric_entries()[name].files)(name)


def data_package(option: Option) -> NpmPackage | None:
    """The package of npm that a data set is read from, by the `PACKAGE` of its module."""
    return getattr(_module(option), "PACKAGE", None)


def reference(name: str, cache: Path) -> list[Resource]:
    """ADM's reference statistics; name: of `REFERENCES`."""
    url = REFERENCES[name]
    place = cache / "reference" / url.rsplit("/", 1)[1]
    return [Resource(f"ADM's statistics of {name}", place, url)]


def vae(name: str, cache: Path) -> list[Resource]:
    """An autoencoder as a folder for diffusers; name: of `VAES`."""
    one = VAES[name]
    base = f"https://huggingface.co/{one.repository}/resolve/main/{one.folder}"
    called = one.called or name
    return [
        Resource(f"{called}'s {file}", cache / "vae" / called / file, f"{base}{file}", size)
        for file, size in zip(VAE_FILES, (0.01, one.megabytes), strict=True)
    ]


def encoder_resources(option: Option, cache: Path) -> list[Resource]:
    """What an encoder needs from outside, by the `resources` of its module;
    nothing for one that is trained here.
    """
    option = option.inner or option
    find = getattr(_module(option), "resources", None)
    return find(option.values, cache) if find else []


def trained_here(option: Option) -> bool:
    """Whether the harness trains this encoder itself."""
    return not hasattr(_module(option.inner or option), "resources")


def _module(option: Option) -> object:
    return importlib.import_module(option.target.partition(":")[0])


def staged(cache: Path) -> Iterator[Finding]:
    """Everything that this project names without further choices: there, or not."""
    named = [*reference("imagenet256", cache), *vae("ema", cache)]
    for resource in named:
        place = resource.found()
        says = f"not at {resource.path}" if place is None else str(place)
        yield Finding("-" if place is None else "ok", resource.what, says)
    for name in options("encoder"):
        yield encoder_finding(encoder_option(name), cache, needed=False)
    for name in metric_entries():
        yield from metric_findings(name, cache, needed=False)


def metric_findings(
    name: str, cache: Path, needed: bool, said: Collection[str] = ()
) -> Iterator[Finding]:
    """Whether the published network that a metric reads with is here, its files or its encoder;
    nothing of a metric without one. needed: whether it must be; said: words to single metrics, of
    which one may name a file in its place.
    """
    entry = find_entry(name)
    if entry is None:
        return
    in_place = any(
        entry.settings[word]["takes"] == "FILE" for word in said if word in entry.settings
    )
    if entry.files and not in_place:
        yield _finding(f"metric {name}", of_metric(entry.name), f"metrics={name}", needed)
    encoder = entry.encoder(name)
    if needed and encoder in options("encoder"):
        yield encoder_finding(encoder_option(encoder), cache, needed)


def encoder_finding(option: Option, cache: Path, needed: bool) -> Finding:
    """Whether an encoder's code and weights are here; needed: whether they must be."""
    name = f"encoder {option.name}"
    if "of" in option.values and option.inner is None:
        return Finding("ok", name, "made of any other: encoder.of=NAME")
    if trained_here(option):
        return Finding("ok", name, "is trained here when it is asked for")
    if option.name == "timm":
        return Finding("ok", name, "any timm model: encoder.name=NAME")
    asked = f"encoder={(option.inner or option).name}"
    try:
        return _finding(name, encoder_resources(option, cache), asked, needed)
    except ValueError as error:
        return Finding("missing" if needed else "-", name, str(error))


def _finding(what: str, resources: list[Resource], asked: str, needed: bool) -> Finding:
    """asked: the word of bench.prepare that fetches them."""
    lacks = [resource.what for resource in resources if resource.found() is None]
    if not lacks:
        return Finding("ok", what, "staged")
    state = "missing" if needed else "-"
    return Finding(state, what, f"lacks {', '.join(lacks)}: python -m bench.prepare {asked}")
