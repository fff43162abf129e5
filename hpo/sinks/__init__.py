"""Where the scalars of trials can be streamed to while a study runs: other programs' clients."""

from hpo.sinks.sink import Scalar, Sink
from hpo.sinks.stream import SINKS, check_sinks, streaming

__all__ = ["SINKS", "Scalar", "Sink", "check_sinks", "streaming"]
