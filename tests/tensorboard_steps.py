# SPDX-License-Identifier: MIT
"""The scalars that the tensorboard package reads from a folder, one line per tag: TAG STEP=VALUE .."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    print(tag, *(f"{event.step}={event.value:.6g}" for event in events.Scalars(tag)))
