"""Small folders as LeRobot writes them: a dot that goes where it is told."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest

CAMERA, FPS = "observation.images.front", 5
SIDES = (12, 16)  # of a view, which is wider than high
TEXTS = ("Go left.", "go RIGHT")


def episodes_of_a_dot(count=12, length=7, seed=0):
    """[(instruction, views uint8 [T, H, W, 3], actions float32 [T, 3])]: a step to the side, one
    down that is nothing, and a gripper that is shut at the end.
    """
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        right, steps = number % 2, length + number % 3
        place = int(draw.integers(6, 10))
        views = np.full((steps, *SIDES, 3), 20, np.uint8)
        actions = np.zeros((steps, 3), np.float32)
        for step in range(steps):
            views[step, 4:8, max(0, place - 2) : place + 2] = 230
            speed = float(draw.uniform(0.02, 0.08)) * (1 if right else -1)
            actions[step] = speed, 0, step == steps - 1
            place = int(np.clip(place + np.sign(speed), 2, SIDES[1] - 2))
        found.append((TEXTS[right], views, actions))
    return found


def write_lerobot(root, episodes, version="v2.1", dtype="image", **info):
    """A folder of that version; dtype: "image", pictures in tables, or "video", films (PyAV). info:
    what meta/info.json says otherwise.
    """
    pa = pytest.importorskip("pyarrow", reason="the optional extra parquet")
    pq = pytest.importorskip("pyarrow.parquet")
    (root / "meta").mkdir(parents=True)
    old = version.startswith("v2")
    data = "episode_{episode_index:06d}" if old else "file-{file_index:03d}"
    chunk = "chunk-{episode_chunk:03d}" if old else "chunk-{chunk_index:03d}"
    said = {
        "codebase_version": version,
        "fps": FPS,
        "chunks_size": 1000,
        "total_episodes": len(episodes),
        "data_path": f"data/{chunk}/{data}.parquet",
        "video_path": f"videos/{chunk}/{{video_key}}/{data}.mp4"
        if old
        else f"videos/{{video_key}}/{chunk}/{data}.mp4",
        "features": {
            CAMERA: {"dtype": dtype, "shape": [*SIDES, 3]},
            "action": {"dtype": "float32", "shape": [3], "names": {"motors": ["x", "y", "grip"]}},
        },
    }
    (root / "meta/info.json").write_text(json.dumps(said | info))

    # a table of every moment, and what the cameras saw
    listed, tables, films, start = [], [], [], 0
    for number, (text, views, actions) in enumerate(episodes):
        steps = len(actions)
        columns = {
            "action": pa.array(list(actions), pa.list_(pa.float32())),
            "episode_index": np.full(steps, number),
            "frame_index": np.arange(steps),
        }
        if dtype == "image":
            columns[CAMERA] = [{"bytes": as_png(view), "path": None} for view in views]
        tables.append(pa.table(columns))
        films.append(views)
        row = {"episode_index": number, "length": steps, "tasks": [text]}
        if not old:
            row |= {"data/chunk_index": 0, "data/file_index": 0, "stats/action/max": [1.0]}
            row |= {f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": 0}
            row[f"videos/{CAMERA}/from_timestamp"] = start / FPS
        listed.append(row)
        start += steps
    if old:
        lines = "\n".join(map(json.dumps, listed))
        (root / "meta/episodes.jsonl").write_text(lines + "\n")
    else:
        (root / "meta/episodes/chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(listed), root / "meta/episodes/chunk-000/f.parquet")
        tables, films = [pa.concat_tables(tables)], [np.concatenate(films)]
    for number, (table, film) in enumerate(zip(tables, films, strict=True)):
        place = {"episode_index": number, "file_index": 0, "episode_chunk": 0, "chunk_index": 0}
        file = root / said["data_path"].format(**place)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        if dtype == "video":
            write_film(root / said["video_path"].format(**place, video_key=CAMERA), film)
    return root


def as_png(view):
    from PIL import Image

    kept = BytesIO()
    Image.fromarray(view).save(kept, "PNG")
    return kept.getvalue()


def write_film(path, views):
    """An mp4 that begins anew every third frame, so that a seek lands between episodes' firsts."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = views.shape[2], views.shape[1], "yuv444p"
        stream.options = {"crf": "0", "g": "3"}
        for view in views:
            for packet in stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
