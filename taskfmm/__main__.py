"""``python -m taskfmm`` is the command ``taskfmm``."""

from taskfmm.cli import main

main(prog_name="taskfmm")
