"""Install the wheel into an empty environment away from the checkout and ask it for help.

The environment gets the wheel alone, without its dependencies; those it borrows from the environment that built it, whose
site-packages come last on the path, so the package itself and its conf/ can only come from the wheel.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def main() -> None:
    """Arguments: the folder with the wheel, the python that has the dependencies."""
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    query = [sys.argv[2], "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    dependencies = subprocess.check_output(query, text=True).strip()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
        own = subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
        ).strip()
        # a .pth line appends: no editable hook of the other environment is active
        (Path(own) / "dependencies.pth").write_text(dependencies + "\n")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run = {"cwd": folder, "env": environment, "text": True, "capture_output": True, "check": False}
        where = subprocess.run([python, "-c", "import rltoolkit; print(rltoolkit.__file__)"], **run).stdout.strip()
        if not where.startswith(own):
            sys.exit(f"the package came from {where}, not from the wheel")
        result = subprocess.run([python, "-m", "rltoolkit", "--help"], **run)
        if result.returncode or "clip_strategy" not in result.stdout:
            sys.exit(f"python -m rltoolkit --help failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    print(f"{wheel.name}: installs alone and runs")


if __name__ == "__main__":
    main()
