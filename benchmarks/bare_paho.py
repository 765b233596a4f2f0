"""The lower bound: 30 times a second, a model with a filled input runs, and, separately, paho publishes a message.

usage: bare_paho.py MODEL PORT TOPIC BYTES SECONDS    prints the seconds of each run of the model as JSON

Each message begins with the monotonic time just before it is published, and is as long as a message of the product.
"""

import json
import sys
import time

import paho.mqtt.client as mqtt

from edge_infer.bench.frames import make_frames
from edge_infer.bench.runs import Bare
from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import InputPlan, PipelinePlan

EVERY = 1 / 30


def main():
    model, port, topic, size, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    made = probe(ModelRequest("bare", model))
    if isinstance(made.input, InputPlan):
        made = replace(made, input=replace(made.input, scaling="fast"))
    plan = PipelinePlan("bare", "memory", made, made.threshold)
    with LoadedModel(plan) as loaded:
        frames = make_frames(loaded, (96, 96))
    bare, runs = Bare(plan, frames[0]), []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    begun = due = time.monotonic()
    while due < begun + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        before = time.perf_counter()
        bare.interpreter.invoke()
        runs.append(time.perf_counter() - before)
        time.sleep(max(0.0, due + EVERY / 2 - time.monotonic()))
        client.publish(topic, f"{time.monotonic():.6f}".ljust(size), qos=1)
        due += EVERY
    time.sleep(0.2)
    client.disconnect()
    client.loop_stop()
    bare.close()
    print(json.dumps(runs))


main()
