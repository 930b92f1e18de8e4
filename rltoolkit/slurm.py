"""Print a batch script for SLURM: trainers, servers that sample for them, and the way back after a preemption.

    python -m rltoolkit.slurm +experiment=dapo preset=single_gpu trainer.devices=8 --nodes 2 > job.sh
    sbatch --partition=NAME --time=1-00:00:00 job.sh

It takes the overrides of the run, and refuses those that cannot be. What one gives to sbatch wins over what stands in the script.

--servers 1 adds a node on which vLLM servers sample (python -m rltoolkit.serve), as many as its GPUs hold; without it each rank has an
engine of its own. Nodes have trainer.devices GPUs. Weights reach servers over HTTP (weight_transfer=http), or through
weight_transfer.folder, which all nodes must see.

Before its time is over, or when it is preempted, the run writes a checkpoint, and the job queues itself again and goes on from there.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rltoolkit.command_line import check_choices, prepare, report_errors

if TYPE_CHECKING:
    from rltoolkit.run.run import Run

PORT = 8000
NOTICE = 600
"""seconds before the end of its time at which a job is told"""
_FOLDER = "hydra.run.dir"
_DEFAULT_FOLDER = "runs/$SLURM_JOB_ID"
"""a job keeps its number when it is queued again"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        "python -m rltoolkit.slurm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, help="nodes that train (default: trainer.num_nodes)")
    parser.add_argument("--servers", type=int, default=0, help="nodes beside them that sample (default: 0)")
    options, words = parser.parse_known_args()
    overrides = prepare(words)
    with report_errors():
        check_choices(overrides)
        print(script(words, overrides, options.nodes, options.servers), end="")


def script(words: Sequence[str], overrides: Sequence[str], nodes: int | None, servers: int) -> str:
    """The batch script.

    Args:
        words: what the run is started with: its overrides, ``--plugin FILE`` and ``--verbose``.
        overrides: the overrides among them.
        nodes: that train; None is what the run says.
        servers: nodes that sample.

    Raises:
        ConfigError: the run cannot be, or not on a cluster.
        HydraException: an unknown key, option or type.
    """
    from rltoolkit.component import label
    from rltoolkit.errors import ConfigError
    from rltoolkit.run import compose

    for option, value, least in (("--nodes", nodes, 1), ("--servers", servers, 0)):
        if value is not None and value < least:
            raise ConfigError(f"{option}={value}: must be at least {least}")
    if {"-m", "--multirun"} & set(overrides):
        raise ConfigError("-m: a sweep queues its own jobs: python -m rltoolkit ... -m hydra/launcher=slurm")
    filled_in = [_FOLDER, *(["trainer.num_nodes"] if nodes else []), *(["rollout_engine.urls"] if servers else [])]
    added = [f"trainer.num_nodes={nodes}"] if nodes else []
    if servers and "rollout_engine" not in map(_key, overrides):
        added.append("rollout_engine=vllm_server")

    def completed(words: Sequence[str]) -> list[str]:
        return [*(word for word in words if _key(word) not in filled_in), *added]

    run = compose.load(*completed(overrides))
    if servers:
        if not hasattr(run.components.rollout_engine, "urls"):
            engine = label(run.components.rollout_engine)
            raise ConfigError(f"--servers {servers}: {engine} samples in the trainer; leave rollout_engine out")
        elsewhere = f"rollout_engine.urls=[http://server:{PORT}]"  # no loopback address: weights have to get to other machines
        run = compose.load(*completed(overrides), elsewhere)
    return _script(run, words, completed(words), _folder(overrides), servers)


def _script(run: Run, words: Sequence[str], own: Sequence[str], folder: str, servers: int) -> str:
    trainer = run.config.trainer
    gpus = 0 if trainer.accelerator == "cpu" else trainer.devices
    directives = [
        "job-name=rltoolkit",
        f"nodes={trainer.num_nodes + servers}",
        *([f"gpus-per-node={gpus}"] if gpus else []),
        "exclusive",
        "mem=0",  # all of it
        "requeue",
        "open-mode=append",
        f"signal=TERM@{NOTICE}",
    ]
    command = ["python", "-m", "rltoolkit.slurm", *words, "--nodes", str(trainer.num_nodes), "--servers", str(servers)]
    head = [
        "#!/bin/bash",
        f"# {shlex.join(command)}".replace("\n", " "),
        *(f"#SBATCH --{directive}" for directive in directives),
        "",
        "set -euo pipefail",
        f"python={shlex.quote(sys.executable)}",
        f'run="{folder}" # every node must see it',
        f"nodes={trainer.num_nodes} devices={trainer.devices}",
        *(_servers_of(run, servers, gpus) if servers else []),
        "# shellcheck disable=SC2016 # taken as they are",
        "overrides=(",
        *(f"    {shlex.quote(word)}" for word in own),
        f'    "{_FOLDER}=$run"',
        ")",
    ]
    return "\n".join([*head, _NODES, *([_SERVERS] if servers else []), _TRAINERS])


def _servers_of(run: Run, nodes: int, gpus: int) -> list[str]:
    """How many servers a node holds, as the script's variables. Raises ConfigError where it holds none."""
    from rltoolkit.errors import ConfigError

    each = getattr(run.components.rollout_engine, "tensor_parallel_size", 1)
    if gpus and each > gpus:
        raise ConfigError(
            f"rollout_engine.tensor_parallel_size={each}: a node has trainer.devices={gpus} GPUs, and no server spans several nodes"
        )
    on_each = gpus // each if gpus else 1
    share = f"--gpus-per-node={on_each * each} --gpus-per-task={each}" if gpus else ""
    return [f"server_nodes={nodes} servers_on_each={on_each} port={PORT}", f"server_gpus=({share})"]


def _folder(overrides: Sequence[str]) -> str:
    """Where the run's files go: the same folder each time that the job is started."""
    from rltoolkit.errors import ConfigError

    given = [word.partition("=")[2] for word in overrides if _key(word) == _FOLDER]
    folder = given[-1] if given else _DEFAULT_FOLDER
    if given and not re.fullmatch(r"[\w./+@%-]+", folder):
        raise ConfigError(
            f"{_FOLDER}={folder}: a job that is queued again goes on there; give a path of letters, digits and any of _ . / + @ % -"
        )
    return folder


def _key(word: str) -> str:
    return word.lstrip("+").partition("=")[0]


_NODES = r"""
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
"""

_SERVERS = r"""# --- Servers sample, on the nodes behind the trainers' -----------------------------------------------------
# Each listens at its node's own address. vLLM's control routes know no password: the network of the nodes has to be a private one.
# The key for the other routes is in the environment alone, in no file and on no command line.
RLTOOLKIT_SERVER_KEY="${RLTOOLKIT_SERVER_KEY:-$("$python" -c 'import secrets; print(secrets.token_hex())')}"
addresses=() urls=()
for host in "${hosts[@]:nodes}"; do
    read -r address _ < <(getent ahostsv4 "$host") || { echo "error: no address is known of $host" >&2; exit 1; }
    addresses+=("$address")
    for ((i = 0; i < servers_on_each; i++)); do urls+=("http://$address:$((port + i))"); done
done
overrides+=("rollout_engine.urls=[$(IFS=,; echo "${urls[*]}")]")
no_proxy="$(IFS=,; echo "${addresses[*]}")${no_proxy:+,$no_proxy}"
export RLTOOLKIT_SERVER_KEY no_proxy SERVER_ADDRESSES="${addresses[*]}" SERVER_PORT="$port"

# SLURM announces the end to all of its tasks with SIGTERM; the trainers need the servers until they have stopped.
# shellcheck disable=SC2016 # expanded on the server's node
srun --nodes="$server_nodes" --relative="$nodes" --ntasks-per-node="$servers_on_each" "${server_gpus[@]}" --cpu-bind=none \
    bash -c 'trap "" TERM
        read -ra addresses <<<"$SERVER_ADDRESSES"
        exec "$@" --host "${addresses[SLURM_NODEID]}" --port "$((SERVER_PORT + SLURM_LOCALID))"' \
    server "$python" -m rltoolkit.serve "${overrides[@]}" &
servers=$!
trap 'kill "$servers" 2>/dev/null || true' EXIT # srun then kills what it has started

patience=$((SECONDS + 3600))
for url in "${urls[@]}"; do
    until curl --silent --fail --output /dev/null --noproxy '*' --max-time 5 "$url/health"; do
        kill -0 "$servers" 2>/dev/null || { echo "error: the servers have ended before $url answered" >&2; exit 1; }
        ((SECONDS < patience)) || { echo "error: $url has not answered for an hour" >&2; exit 1; }
        sleep 2
    done
done
"""

_TRAINERS = r"""# --- Trainers ----------------------------------------------------------------------------------------------
said() { cat "$run/run.json" 2>/dev/null || true; } # how the run is going, another text each time that it starts or ends
before=$(said)
status=0
MASTER_ADDR="${hosts[0]}" srun --nodes="$nodes" --relative=0 --ntasks-per-node="$devices" --cpu-bind=none --kill-on-bad-exit=1 \
    "$python" -m rltoolkit "${overrides[@]}" || status=$?

# --- Preempted, or out of time: the run has written a checkpoint, and goes on from it when its turn comes again ----
after=$(said)
if [[ $after != "$before" && $after == *'"status": "interrupted"'* ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


if __name__ == "__main__":
    main()
