"""Speech: a decoder-only Transformer over audio frames and text, judged by word error rate."""
