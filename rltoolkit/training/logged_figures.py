"""A run's figures as images in Weights & Biases and TensorBoard, where these loggers are on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger


def log_figures(loggers: Sequence[Logger], figures: Sequence[Path], step: int) -> None:
    """Hand PNG files to the loggers that show images, under ``figures/`` and the name of the file."""
    from matplotlib.image import imread

    for logger in loggers:
        for figure in figures:
            tag = f"figures/{figure.stem}"
            if isinstance(logger, WandbLogger):
                logger.log_image(tag, [str(figure)], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(tag, imread(figure)[..., :3], step, dataformats="HWC")
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
