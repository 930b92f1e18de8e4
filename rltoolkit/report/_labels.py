"""Labels: which runs are seeds of one configuration, and what tells the others apart.

Two runs are seeds of one configuration if their run.json hold the same config but for ``seed`` and for keys that change no number.
Configurations of one name (ablation, or else experiment) are told apart by the keys that differ:

    naive_grpo, optimizer.learning_rate=0.0003
    naive_grpo, optimizer.learning_rate=0.003
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from rltoolkit.registry import SEVERAL

INCIDENTAL = (
    *("seed", "logger", "profiler", "trainer.memory_check", "evaluation.every"),
    *(
        f"trainer.{key}"
        for key in ("devices", "num_nodes", "checkpoint_every", "keep_checkpoints", "log_rollouts_every", "reflection_phrases")
    ),
)
"""Keys in which the seeds of one configuration may differ, with all keys below them."""

MOST_KEYS = 3
"""The most differing keys that a label names; with more, it gives the folder."""


class Label(NamedTuple):
    """What the runs of one configuration share."""

    name: str
    """the ablation, or else the experiment, or else the folder"""
    difference: str
    """``key=value`` for each key in which this configuration differs from others of its name; empty where there are none"""


def labels(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Label]:
    """The label of each run. Keys: the runs' folders, relative to the report's; values: the contents of their run.json."""
    members: dict[str, list[str]] = {}
    for folder, record in records.items():
        members.setdefault(record.get("ablation") or record.get("experiment") or "", []).append(folder)
    found: dict[str, Label] = {}
    for name, folders in members.items():
        variants: dict[tuple[Any, ...], list[str]] = {}
        for folder in folders:
            settings = _settings(records[folder].get("config") or {})
            # Without a config or a name nothing says which run this is a seed of.
            unknown = (folder,) if not settings and not name else ()
            variants.setdefault((*sorted(settings.items()), *unknown), []).append(folder)
        differences = _differences([_settings(records[one[0]].get("config") or {}) for one in variants.values()])
        for runs, difference in zip(variants.values(), differences, strict=True):
            place = _common_folder(runs)
            if difference is None:
                label = Label(name, place) if name else Label(place, "")
            else:
                label = Label(name, difference) if name or difference else Label(place, "")
            found |= dict.fromkeys(runs, label)
    return found


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The config as ``key: value`` in the words of the command line, without ``INCIDENTAL`` keys.

    A component is ``clip_strategy: symmetric``, and several are ``reward_shaper: [a,b]``.
    """
    flat: dict[str, str] = {}

    def add(prefix: str, value: Any) -> None:
        if prefix in INCIDENTAL:
            return
        if not isinstance(value, Mapping):
            kind = prefix.removesuffix("._target_")
            flat[kind] = _spelled(value) if kind == prefix else value.split(".")[-2]  # a component's module has its name
            return
        if prefix in (*SEVERAL, "eval_task"):
            flat[prefix] = f"[{','.join(value)}]"
        for key, entry in value.items():
            add(f"{prefix}.{key}" if prefix else key, entry)

    add("", config)
    return flat


def _spelled(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _differences(variants: list[dict[str, str]]) -> list[str | None]:
    """For each variant the keys that differ, with its values; None for all where they are too many or do not tell them apart."""
    if len(variants) == 1:
        return [""]
    shared = set.intersection(*(set(variant) for variant in variants))  # the others belong to components that not all have
    keys = sorted(key for key in shared if len({variant[key] for variant in variants}) > 1)
    texts = [", ".join(f"{key}={variant[key]}" for key in keys) for variant in variants]
    if len(keys) > MOST_KEYS or len(set(texts)) < len(texts):
        return [None] * len(variants)
    return list(texts)


def _common_folder(folders: list[str]) -> str:
    return folders[0] if len(folders) == 1 else os.path.commonpath(folders) or f"{folders[0]} and {len(folders) - 1} more"
