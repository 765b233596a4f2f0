"""The loop of tutorials: read, resize, convert, infer, publish, one after the other.

usage: naive.py MODEL FRAMES SECONDS PORT    FRAMES: a video file, or a .npy of pictures [n, height, width, 3]
"""

import json
import resource
import sys
import time

import cv2
import numpy as np
import paho.mqtt.client as mqtt
from ai_edge_litert.interpreter import Interpreter
from frames import frames


def main():
    model, path, seconds, port = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()
    height, width = given["shape"][1:3]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    count, begun, cpu = 0, 0.0, 0.0
    for frame in frames(path):
        picture = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
        tensor = np.expand_dims(picture, axis=0)
        if given["dtype"] == np.int8:
            tensor = (tensor.astype(np.int16) - 128).astype(np.int8)
        interpreter.set_tensor(given["index"], tensor)
        interpreter.invoke()
        outputs = [interpreter.get_tensor(each["index"]) for each in made]
        best = outputs[0].reshape(-1)[:4]
        client.publish("naive/result", json.dumps({"ts": time.time(), "best": [float(value) for value in best]}))
        count += 1
        if count == 10:  # warm
            begun, cpu = time.perf_counter(), time.process_time()
        if count > 10 and time.perf_counter() - begun >= seconds:
            break
    done, spent = count - 10, time.perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rate": done / spent, "cpu": (time.process_time() - cpu) / done, "rss": memory}))


main()
