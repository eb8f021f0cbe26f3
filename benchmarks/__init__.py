"""Speed and size beside the peers, measured in one run; never a timed test."""
