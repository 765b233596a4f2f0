"""The script that a user would write in place of the daemon: one process with OpenCV, LiteRT and paho.

usage: script.py MODEL LABELS CLIP PACE PORT    PACE: 1 plays at the clip's rate, 0 as fast as it goes; 2: a camera. It
runs until it is stopped.

It publishes the five best labels of every frame at QoS 1 with the time of capture, as in a typical tutorial.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import paho.mqtt.client as mqtt
from ai_edge_litert.interpreter import Interpreter

TOPIC = "script/result"


def main():
    model, labels, clip, pace, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    names = Path(labels).read_text().splitlines()
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    height, width = given["shape"][1:3]
    scale, zero = made["quantization"]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    camera = cv2.VideoCapture(clip)
    every = 1.0 / camera.get(cv2.CAP_PROP_FPS) if pace == 1 else 0.0
    due = time.monotonic()
    while True:
        good, frame = camera.read()
        if not good:
            camera.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        due += every
        time.sleep(max(0.0, due - time.monotonic()))
        captured = time.time()
        shrunk = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        interpreter.set_tensor(given["index"], cv2.cvtColor(shrunk, cv2.COLOR_BGR2RGB)[np.newaxis])
        interpreter.invoke()
        scores = interpreter.get_tensor(made["index"])[0]
        best = np.argsort(scores)[:-6:-1]
        top = [{"label": names[each], "score": round((int(scores[each]) - zero) * scale, 3)} for each in best]
        sent = client.publish(TOPIC, json.dumps({"ts": captured, "classes": top}), qos=1)
        if not pace:
            sent.wait_for_publish()


main()
