"""Every evaluator, by its name in `params.yaml`."""

from evaluators.attribute_change import AttributeChange
from evaluators.fid import FID
from evaluators.figure import Evaluator
from evaluators.identity import Identity
from evaluators.inception_score import InceptionScore
from evaluators.ssim import SSIM

EVALUATORS: dict[str, type[Evaluator]] = {
    "attribute_change": AttributeChange,
    "fid": FID,
    "identity": Identity,
    "inception_score": InceptionScore,
    "ssim": SSIM,
}
