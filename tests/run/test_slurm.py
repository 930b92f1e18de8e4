"""Jobs through submitit, on its imitation of a cluster: real processes on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

pytest.importorskip("submitit")

from rltoolkit.errors import ConfigError
from rltoolkit.run.jobs import Job
from rltoolkit.run.slurm import Resources, run_on_slurm

ONE = Resources(nodes=1, tasks_per_node=1, gpus_per_node=0, cpus_per_task=None)

# a sweep in a process of its own, since signals go to a whole process
SWEEP = """if True:
    import json, sys
    from pathlib import Path
    from rich.console import Console
    from rltoolkit.run.jobs import Job
    from rltoolkit.run.slurm import Resources, run_on_slurm
    root, code = Path(sys.argv[1]), sys.argv[2]
    jobs = [Job(name=f"job {i}", command=[sys.executable, "-c", code, str(root / f"note_{i}")], folder=root / str(i)) for i in range(2)]
    print(json.dumps(run_on_slurm(
        jobs, [Resources(1, 1, 0, None)] * 2, folder=root / "slurm", cluster="local", partition=None, minutes=1, extra={},
        console=Console(quiet=True))))
"""
QUEUE = """if True:
    import sys
    from pathlib import Path
    from rich.console import Console
    from rltoolkit.run.jobs import Job
    from rltoolkit.run.slurm import Resources, run_on_slurm
    job = Job(name="job", command=[sys.executable, "-c", sys.argv[2]], folder=Path(sys.argv[1]))
    outcome = run_on_slurm([job], [Resources(1, 1, 0, None)], folder=Path(sys.argv[1], "slurm"), cluster="local", partition=None,
                           minutes=5, extra={}, console=Console(quiet=True))
    assert outcome == ([0], 0), outcome
"""
WORKER = """if True:
    import signal, sys, time
    from pathlib import Path
    note = Path(sys.argv[1]).open("a", buffering=1)
    def stop(number, frame):
        note.write("checkpoint\\n")
        sys.exit(128 + number)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    note.write("ready\\n")
    time.sleep(60)
"""


def run(tmp_path, *codes, cluster="local", **options):
    jobs = [Job(name=f"job {i}", command=[sys.executable, "-c", code], folder=tmp_path / str(i)) for i, code in enumerate(codes)]
    settings = {"partition": None, "minutes": 1, "extra": {}, "console": Console(quiet=True), **options}
    return run_on_slurm(jobs, [ONE] * len(jobs), folder=tmp_path / "slurm", cluster=cluster, **settings)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_each_job_is_one_of_the_cluster_and_a_failing_one_does_not_end_the_others(tmp_path):
    terminal = (tmp_path / "terminal").open("w")
    outcome = run(tmp_path, "print('fine')", "raise SystemExit('no more')", console=Console(file=terminal, width=80))
    terminal.close()
    assert outcome == ([0, 1], 0)
    said = (tmp_path / "terminal").read_text()
    assert "job 0  finished\n" in said
    assert "job 1  failed" in said
    assert "    no more\n" in said  # the end of its output
    assert any("fine" in log.read_text() for log in (tmp_path / "slurm").glob("*_log.out"))


def test_a_signal_ends_the_jobs(tmp_path):
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, tmp_path, WORKER], stdout=subprocess.PIPE, text=True)
    notes = [tmp_path / "note_0", tmp_path / "note_1"]
    wait_for(lambda: all(note.is_file() and "ready" in note.read_text() for note in notes))
    sweep.send_signal(signal.SIGTERM)
    output, _ = sweep.communicate(timeout=60)
    statuses, received = json.loads(output.splitlines()[-1])
    assert received == signal.SIGTERM
    assert 0 not in statuses


def test_a_job_whose_time_is_over_writes_a_checkpoint_and_goes_on(tmp_path):
    # the first time it waits, and tells who started it; the second time it ends
    code = """if True:
        import os, signal, sys, time
        note = open("NOTE", "a", buffering=1)
        if note.tell():
            note.write("went on\\n")
            sys.exit(0)
        def stop(number, frame):
            note.write("checkpoint\\n")
            sys.exit(143)
        signal.signal(signal.SIGTERM, stop)
        note.write(f"{os.getppid()}\\n")
        time.sleep(60)
    """.replace("NOTE", str(tmp_path / "note"))
    outcome: list = []
    cluster = threading.Thread(
        target=lambda: outcome.append(subprocess.run([sys.executable, "-c", QUEUE, tmp_path, code], check=True))
    )
    cluster.start()
    wait_for(lambda: (tmp_path / "note").is_file() and (tmp_path / "note").read_text().endswith("\n"))
    process = int((tmp_path / "note").read_text())
    os.kill(process, signal.SIGUSR2)  # what SLURM sends shortly before the end
    cluster.join(timeout=60)
    assert (tmp_path / "note").read_text() == f"{process}\ncheckpoint\nwent on\n"


def test_what_is_missing_is_named(tmp_path):
    # there is no srun here
    with pytest.raises(ConfigError, match="cluster=slurm: Could not detect"):
        run(tmp_path, "pass", cluster="slurm")
