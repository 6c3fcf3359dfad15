"""The generators there are: one line each. The name is also that of its section in `params.yaml`."""

from forgeline.section import Section
from generators.attributes import Attributes
from generators.autoencoder_self import AutoencoderSelf
from generators.autoencoder_swap import AutoencoderSwap
from generators.blend_swap import BlendSwap
from generators.control import Control
from generators.cross_modal import CrossModal, CrossModalAudio, CrossModalVideo
from generators.dcgan import DCGAN
from generators.diffusion import Diffusion
from generators.environment import Environment
from generators.image_control import ImageControl
from generators.inpaint import Inpaint
from generators.latent_attributes import LatentAttributes
from generators.lip_sync import LipSync
from generators.lip_sync_net import LipSyncNet
from generators.onnx_self import OnnxSelf
from generators.onnx_swap import OnnxSwap
from generators.reenact import Reenact
from generators.reenact_net import ReenactNet
from generators.restore import Restore
from generators.self_swap import SelfSwap
from generators.sound_control import SoundControl
from generators.speech import Speech
from generators.speech_kokoro import SpeechKokoro
from generators.speech_net import SpeechNet
from generators.style_gan import StyleGAN
from generators.vae import VAE
from generators.voice import Voice
from generators.voice_net import VoiceNet
from generators.voice_onnx import VoiceOnnx

GENERATORS: dict[str, type[Section]] = {
    "control": Control,
    "blend_swap": BlendSwap,
    "self_swap": SelfSwap,
    "autoencoder_swap": AutoencoderSwap,
    "autoencoder_self": AutoencoderSelf,
    "onnx_swap": OnnxSwap,
    "onnx_self": OnnxSelf,
    "lip_sync": LipSync,
    "lip_sync_net": LipSyncNet,
    "attributes": Attributes,
    "latent_attributes": LatentAttributes,
    "reenact": Reenact,
    "reenact_net": ReenactNet,
    "inpaint": Inpaint,
    "restore": Restore,
    "environment": Environment,
    "cross_modal": CrossModal,
    "cross_modal_audio": CrossModalAudio,
    "cross_modal_video": CrossModalVideo,
    "sound_control": SoundControl,
    "speech": Speech,
    "speech_net": SpeechNet,
    "speech_kokoro": SpeechKokoro,
    "voice": Voice,
    "voice_net": VoiceNet,
    "voice_onnx": VoiceOnnx,
    "image_control": ImageControl,
    "dcgan": DCGAN,
    "style_gan": StyleGAN,
    "vae": VAE,
    "diffusion": Diffusion,
}
