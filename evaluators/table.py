"""Every evaluator, by its name in `params.yaml`."""

from evaluators.attribute_change import AttributeChange
from evaluators.character_errors import CharacterErrors
from evaluators.fid import FID
from evaluators.figure import Evaluator
from evaluators.identity import Identity
from evaluators.inception_score import InceptionScore
from evaluators.kid import KID
from evaluators.landmarks import Landmarks
from evaluators.lip_sync_error import LipSyncError
from evaluators.lpips import LPIPS
from evaluators.ms_ssim import MSSSIM
from evaluators.precision_recall import PrecisionRecall
from evaluators.prosody import Prosody
from evaluators.psnr import PSNR
from evaluators.speaker_similarity import SpeakerSimilarity
from evaluators.speech_quality import SpeechQuality
from evaluators.ssim import SSIM
from evaluators.temporal import Temporal

EVALUATORS: dict[str, type[Evaluator]] = {
    "attribute_change": AttributeChange,
    "character_errors": CharacterErrors,
    "fid": FID,
    "identity": Identity,
    "inception_score": InceptionScore,
    "kid": KID,
    "landmarks": Landmarks,
    "lip_sync_error": LipSyncError,
    "lpips": LPIPS,
    "ms_ssim": MSSSIM,
    "precision_recall": PrecisionRecall,
    "prosody": Prosody,
    "psnr": PSNR,
    "speaker_similarity": SpeakerSimilarity,
    "speech_quality": SpeechQuality,
    "ssim": SSIM,
    "temporal": Temporal,
}
