"""One method, one file: parents in, clip and ground truth out."""
