"""MediaPipe Tasks as in its guide: one picture after the other, in video mode.

usage: mediapipe_tasks.py MODEL FRAMES SECONDS PORT KIND    KIND: classifier or detector
"""

import json
import sys
import time

import cv2
import mediapipe as mp
import paho.mqtt.client as mqtt
from frames import frames
from mediapipe.tasks.python import BaseOptions, vision


def make(kind, model):
    """Return the task, and its method for one picture of a video."""
    base = BaseOptions(model_asset_path=model)
    if kind == "classifier":
        options = vision.ImageClassifierOptions(base_options=base, running_mode=vision.RunningMode.VIDEO, max_results=5)
        task = vision.ImageClassifier.create_from_options(options)
        return task, task.classify_for_video
    options = vision.ObjectDetectorOptions(
        base_options=base, running_mode=vision.RunningMode.VIDEO, score_threshold=0.5
    )
    task = vision.ObjectDetector.create_from_options(options)
    return task, task.detect_for_video


def main():
    model, path, seconds, port, kind = *sys.argv[1:3], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    _task, run = make(kind, model)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    count, begun, cpu = 0, 0.0, 0.0
    for frame in frames(path):
        picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        found = run(picture, count * 10)
        client.publish("mediapipe/result", json.dumps({"ts": time.time(), "found": str(found)[:200]}))
        count += 1
        if count == 10:  # warm
            begun, cpu = time.perf_counter(), time.process_time()
        if count > 10 and time.perf_counter() - begun >= seconds:
            break
    done, spent = count - 10, time.perf_counter() - begun
    print(json.dumps({"rate": done / spent, "cpu": (time.process_time() - cpu) / done}))


main()
