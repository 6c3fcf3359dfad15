"""Every evaluator, by its name in `params.yaml`."""

from evaluators.fid import FID
from evaluators.figure import Evaluator
from evaluators.inception_score import InceptionScore
from evaluators.ssim import SSIM

EVALUATORS: dict[str, type[Evaluator]] = {
    "fid": FID,
    "inception_score": InceptionScore,
    "ssim": SSIM,
}
