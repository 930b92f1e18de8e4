"""Jobs are real processes that get real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from rltoolkit.run.jobs import Job, duration, run_jobs

# A job that notes what it sees, ends in its own order on a signal (after a while, as a run that writes a checkpoint), and says so.
WORKER = """if True:
    import os, signal, sys, time
    from pathlib import Path
    note = Path(sys.argv[1]).open("a", buffering=1)
    def stop(number, frame):
        signal.signal(number, signal.SIG_DFL)
        time.sleep(0.5)
        note.write(f"checkpoint {number}\\n")
        sys.exit(128 + number)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    note.write(f"threads {os.environ.get('OMP_NUM_THREADS')}\\n")
    note.write("ready\\n")
    time.sleep(float(sys.argv[2]))
    note.write("end\\n")
"""

# A sweep in a process of its own, since signals go to a whole process.
SWEEP = """if True:
    import json, sys
    from pathlib import Path
    from rltoolkit.run.jobs import Job, run_jobs
    root, jobs_at_once, worker = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    jobs = [Job(name=f"job {i}", command=[sys.executable, "-c", worker, str(root / f"note_{i}"), "30"], folder=root / str(i))
            for i in range(3)]
    print(json.dumps(run_jobs(jobs, jobs_at_once=jobs_at_once)))
"""


def python(code, folder, name="job", *arguments):
    return Job(name=name, command=[sys.executable, "-c", code, *map(str, arguments)], folder=folder)


def told(tmp_path):
    """A console, and a function that gives what it was told."""
    file = (tmp_path / "terminal").open("w")
    return Console(file=file, width=80), lambda: (file.flush(), (tmp_path / "terminal").read_text())[1]


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def started(root: Path, count: int):
    return lambda: sum("ready" in note.read_text() for note in root.glob("note_*")) == count


def test_a_failing_job_does_not_end_the_others(tmp_path):
    console, terminal = told(tmp_path)
    codes = ["pass", "import sys; sys.exit(3)", "import os; os.kill(os.getpid(), 9)", "pass"]
    outcome = run_jobs([python(code, tmp_path, f"job {i}") for i, code in enumerate(codes)], console=console)
    assert outcome == ([0, 3, -9, 0], 0)
    assert "job 1  failed with exit status 3 after 0 s; the other jobs go on" in terminal()
    assert "job 2  failed with signal 9" in terminal()


@pytest.mark.parametrize("jobs_at_once", [1, 2, 3])
def test_at_most_so_many_run_at_a_time(tmp_path, jobs_at_once):
    # each counts the jobs that are running, itself included, while it runs
    code = """if True:
        import os, sys, time
        from pathlib import Path
        root = Path(sys.argv[1])
        mine = root / f"running_{os.getpid()}"
        mine.touch()
        most = 0
        for _ in range(15):
            time.sleep(0.02)
            most = max(most, len(list(root.glob("running_*"))))
        mine.unlink()
        (root / f"most_{os.getpid()}").write_text(str(most))
    """
    run_jobs(
        [python(code, tmp_path / str(i), "job", tmp_path) for i in range(6)],
        jobs_at_once=jobs_at_once,
        console=Console(quiet=True),
    )
    counted = [int(file.read_text()) for file in tmp_path.glob("most_*")]
    assert len(counted) == 6
    assert max(counted) == jobs_at_once


def test_side_by_side_each_job_has_a_log_and_the_terminal_a_line(tmp_path):
    console, terminal = told(tmp_path)
    good = python("print('all is well')", tmp_path / "a", "job 1")
    bad = python("for i in range(40): print('line', i)\nraise SystemExit('no more')", tmp_path / "b", "job 2")
    assert run_jobs([good, bad], jobs_at_once=2, console=console).statuses == [0, 1]
    assert (tmp_path / "a" / "log.txt").read_text() == "all is well\n"
    assert f"job 1  started   {tmp_path}/a\n" in terminal()
    assert re.search(r"job 1  finished in \d+ s\n", terminal())
    # of its 41 lines the last ten: line 31 to 39 are nine, the tenth is what it died of (stderr is not buffered, so it comes first)
    (failure,) = [part for part in terminal().split("job 2  ") if part.startswith("failed")]
    assert f"The last lines of {tmp_path}/b/log.txt:\n" in failure
    assert "    line 39\n" in failure
    assert "line 29\n" not in failure
    assert "all is well" not in terminal()


def test_a_job_that_goes_on_adds_to_its_log(tmp_path):
    for word in ("first", "second"):
        run_jobs([python(f"print('{word}')", tmp_path)], jobs_at_once=2, console=Console(quiet=True))
    assert (tmp_path / "log.txt").read_text() == "first\nsecond\n"


def test_one_at_a_time_writes_to_the_terminal(tmp_path):
    code = f"""if True:
        import sys
        sys.path.insert(0, {os.getcwd()!r})
        from pathlib import Path
        from rltoolkit.run.jobs import Job, run_jobs
        run_jobs([Job(name="job 1", command=[sys.executable, "-c", "print('said by the job')"], folder=Path({str(tmp_path)!r}))])
    """
    assert "said by the job" in subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not (tmp_path / "log.txt").exists()


@pytest.mark.parametrize(
    ("jobs_at_once", "threads", "expected"), [(1, 3, "3"), (2, 3, "3"), (2, None, "share"), (100, None, "1")]
)
def test_threads(tmp_path, jobs_at_once, threads, expected):
    cores = len(os.sched_getaffinity(0))
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])"
    run_jobs(
        [python(code, tmp_path, "job", tmp_path / "n")], jobs_at_once=jobs_at_once, threads=threads, console=Console(quiet=True)
    )
    assert (tmp_path / "n").read_text() == (str(max(cores // 2, 1)) if expected == "share" else expected)


def test_one_at_a_time_has_the_threads_it_would_have_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])"
    run_jobs([python(code, tmp_path, "job", tmp_path / "n")], console=Console(quiet=True))
    assert (tmp_path / "n").read_text() == "7"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs_at_once", [1, 2])
def test_a_signal_reaches_every_running_job_once_and_waits_for_it(tmp_path, number, jobs_at_once):
    # as the terminal does for Ctrl-C, the signal goes to the whole process group of the sweep
    sweep = subprocess.Popen(
        [sys.executable, "-c", SWEEP, tmp_path, str(jobs_at_once), WORKER],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(started(tmp_path, jobs_at_once))
    os.killpg(sweep.pid, number)
    output, _ = sweep.communicate(timeout=20)
    statuses, received = json.loads(output.splitlines()[-1])
    assert received == number
    # those running wrote their checkpoint; the rest was never started
    assert statuses == [128 + number] * jobs_at_once + [None] * (3 - jobs_at_once)
    for index in range(jobs_at_once):
        assert (tmp_path / f"note_{index}").read_text().endswith(f"ready\ncheckpoint {int(number)}\n")


def test_a_terminal_that_closes_lets_the_jobs_end_in_order(tmp_path):
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup, and a process inherits that
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, tmp_path, "2", WORKER], stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGHUP, ours)
    wait_for(started(tmp_path, 2))
    sweep.send_signal(signal.SIGHUP)
    output, _ = sweep.communicate(timeout=20)
    # 143: the jobs were told with SIGTERM
    assert json.loads(output.splitlines()[-1]) == [[143, 143, None], signal.SIGHUP]


def test_a_second_signal_kills(tmp_path):
    slow = WORKER.replace("time.sleep(0.5)", "note.write('stopping\\n'); time.sleep(60)")
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, tmp_path, "2", slow], stdout=subprocess.PIPE, text=True)
    wait_for(started(tmp_path, 2))
    sweep.send_signal(signal.SIGTERM)
    wait_for(lambda: all("stopping" in (tmp_path / f"note_{i}").read_text() for i in range(2)))
    sweep.send_signal(signal.SIGTERM)
    output, _ = sweep.communicate(timeout=20)
    assert json.loads(output.splitlines()[-1]) == [[-9, -9, None], signal.SIGTERM]


def test_durations():
    assert [duration(seconds) for seconds in (0.4, 59, 60, 200, 7500)] == ["0 s", "59 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]
