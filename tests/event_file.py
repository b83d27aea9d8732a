# SPDX-License-Identifier: MIT
"""What the tensorboard package reads from the event files that test_event_file has written into a folder."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1])
events.Reload()
loss = events.Scalars("train/loss")
assert [e.step for e in loss] == list(range(1, 9)), loss
assert all(abs(e.value - 5 / e.step) < 1e-6 for e in loss), loss
assert [e.step for e in events.Scalars("valid/loss")] == [1, 3, 4, 5, 6, 7, 8]
