"""Step times: what a method costs in seconds beside what its counted FLOPs say, what share of the
device's own limit it reaches, and where the time of a step goes.

    python -m bench.speed                                   # three arms, size nano on digits
    python -m bench.speed data=imagenet256 sizes=L,XL batch=64 compute.compile=true out=speed.json
    python -m bench.speed table=speed.json                  # the table of a file
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.groups import choosing, options
from bench.config.keys import Choice, File, Folder, Number, Several, Text, Whole
from bench.core.model.sampling_protocol import PROTOCOLS

TIMED_SAMPLERS = tuple(name for name, protocol in PROTOCOLS.items() if protocol.steps)

SPEED = Command(
    "speed",
    does="Time training steps of arms beside vanilla flow matching, and sampling and feature "
    "passes of the backbone. A row says milliseconds a step and images/s, the ratio to vanilla "
    "beside the ratio of counted FLOPs, FLOP/s and their share of a matrix product measured here, "
    "memory, and the milliseconds of data, backbone, teacher, encoder, heads, optimiser and EMA. "
    "Seconds are processor time on a CPU (a machine's other users do not count), where arms take "
    "turns, and the device's on a GPU.\n\n"
    "Keys of bench.run (see its --help) go to every arm. Without data.root=DIR latents are random; "
    "without encoder=NAME random features stand for an encoder's, as with "
    "compute.cache_features=true.",
    body="bench.commands.speed:time_arms",
    keys={
        "arms": Several(
            "methods to time",
            of=Choice("method", among=lambda: options("method"), shape="METHOD"),
            default=("repa", "selfflow"),
        ),
        "sizes": Several(
            "sizes, one after the other; without it the data's",
            of=Choice("size", among=lambda: options("size"), shape="SIZE"),
        ),
        "levels": Several(
            "noise levels: an arm's own; token: the same levels, but handed over one a token, as "
            "per-token models take them",
            of=Choice("levels", among=("own", "token")),
            default=("own",),
        ),
        "sampling": Several(
            "samplers to time, and features with them",
            of=Choice("sampler", among=TIMED_SAMPLERS),
            default=("ode50",),
        ),
        "encoder_width": Whole("numbers of a random feature", default=768, least=1),
        "module": Text(
            "a network of your own to time beside vanilla: a function of a size that returns a "
            "torch.nn.Module, called as SiT is",
            shape="PACKAGE:FACTORY",
        ),
        "loader": Folder(
            "time how fast this folder of latents is read, and nothing else (keys of bench.run: "
            "batch, compute.data_workers, data.shards_at_once, images)"
        ),
        "tflops": Number(
            "count FLOPs and time nothing: GPU hours of each arm's images at so many TFLOP/s a GPU",
            within="(0, inf)",
        ),
        "steps": Whole("steps of one timing", default=20, least=1),
        "repeats": Whole("timings of each arm", default=5, least=1),
        "out": File("write the rows as JSON, each once it is known"),
        "table": File("print the table of such a file, and time nothing"),
    },
    examples={
        "": "",
        "arms=selfflow,dual_timestep,sra levels=own,token sizes=mini": "",
        "arms=repa encoder=local_l steps=100": "the encoder itself, in every step",
        "data=imagenet256 sizes=L,XL batch=64 compute.compile=true out=speed.json": "on a GPU",
        "data=imagenet256 sizes=S compute.compile=true compute.graphs=true": "with CUDA graphs",
        "data=imagenet256 arms=repa,selfflow sizes=XL tflops=380": "GPU hours, without a GPU",
        "loader=latents batch=256 compute.data_workers=4": "the loader alone",
        "table=speed.json": "",
    },
    passes=("",),
    meant=choosing,
    alone=True,
)

if __name__ == "__main__":
    SPEED.start()
