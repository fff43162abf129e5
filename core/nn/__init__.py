"""Building blocks of Transformers, shared by every task."""

from core.nn.attention_layers import CrossAttention, SelfAttention
from core.nn.dropout import Dropout
from core.nn.feed_forward import FeedForward
from core.nn.gru import Gru
from core.nn.layers import DecoderLayer, EncoderLayer
from core.nn.loss import token_cross_entropy
from core.nn.positions import SinusoidalPositions
from core.nn.ranking import largest
from core.nn.residual import Residual
from core.nn.stacked import linear

__all__ = [
    "CrossAttention",
    "DecoderLayer",
    "Dropout",
    "EncoderLayer",
    "FeedForward",
    "Gru",
    "Residual",
    "SelfAttention",
    "SinusoidalPositions",
    "largest",
    "linear",
    "token_cross_entropy",
]
