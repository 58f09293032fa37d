"""Train one arm, measure it, resume it: `python -m bench.run method=selfflow size=L`.

The same command again resumes where the run stopped, or says that it is complete.
"""

from __future__ import annotations

import re

from bench.cli import Command
from bench.config.groups import CONF, GROUPS, choosing, options
from bench.config.keys import Choice


def everything() -> dict[str, dict[str, str]]:
    """The groups with their options, and the keys of config.yaml, for the help page."""
    groups = {f"{group}=": " | ".join(options(group)) for group in GROUPS}
    keys: dict[str, str] = {}
    section = ""
    text = (CONF / "config.yaml").read_text(encoding="utf-8").split("_self_", 1)[1]
    for line in text.splitlines():
        said, _, comment = (part.strip() for part in line.partition("#"))
        key, _, value = (part.strip() for part in said.partition(":"))
        if not key:
            continue
        section = section if line.startswith(" ") else key
        name = f"{section}.{key}" if line.startswith(" ") else key
        if value:
            default = "the data's" if value.startswith(("${data.", "${recipe:")) else value
            if of_recipe := re.fullmatch(r"\$\{recipe:[^,]+,(.+)\}", value):
                default = f"{of_recipe[1]}, or the data's"
            keys[f"{name}="] = f"{comment} (default: {default})".lstrip()
        elif comment:
            keys[f"{name}.*"] = comment
    return {
        "Groups (one file an option in bench/conf)": groups,
        "Keys (bench/conf/config.yaml; a group's are method.weight=0.3, size.depth=6)": keys,
    }


RUN = Command(
    "run",
    does="Train one arm in runs/<name>-<hash>/, then measure it. The same command again resumes "
    "it, or says that it is complete.",
    body="bench.commands.run:train_and_measure",
    notes=everything,
    keys={
        "Also": {
            "cfg": Choice(
                "--cfg job prints the configuration that the command would use, and stops",
                among=("job",),
            )
        }
    },
    examples={
        "method=selfflow": "Self-Flow on the default data (digits), a minute or two",
        "method=repa encoder=local_s seed=1": "REPA with an encoder that is trained on the spot",
        "method=repa encoder=dinov2_g data=imagenet256 size=XL compute.compile=true": "",
    },
    passes=("",),
    meant=choosing,
)

if __name__ == "__main__":
    RUN.start()
