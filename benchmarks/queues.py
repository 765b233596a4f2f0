"""A design with processes and queues: one process reads, one infers, one publishes; pictures are in shared memory.

usage: queues.py MODEL FRAMES SECONDS PORT    FRAMES: a video file, or a .npy of pictures [n, height, width, 3]
"""

import json
import multiprocessing
import sys
import time
from multiprocessing import shared_memory

import cv2
import numpy as np
from frames import frames

SLOTS = 4


def read(path, name, shape, free, full):
    """Put each picture into a free slot."""
    memory = shared_memory.SharedMemory(name)
    slots = np.ndarray((SLOTS, *shape), np.uint8, memory.buf)
    for frame in frames(path):
        slot = free.get()
        slots[slot] = frame
        full.put((slot, time.time()))


def infer(model, name, shape, free, full, results):  # noqa: PLR0917 - as one writes it
    """Run the model on each picture."""
    from ai_edge_litert.interpreter import Interpreter

    memory = shared_memory.SharedMemory(name)
    slots = np.ndarray((SLOTS, *shape), np.uint8, memory.buf)
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()
    height, width = given["shape"][1:3]
    while True:
        slot, moment = full.get()
        picture = cv2.cvtColor(cv2.resize(slots[slot], (width, height)), cv2.COLOR_BGR2RGB)
        free.put(slot)
        if given["dtype"] == np.int8:
            picture = (picture.astype(np.int16) - 128).astype(np.int8)
        interpreter.set_tensor(given["index"], picture[np.newaxis])
        interpreter.invoke()
        results.put((moment, [interpreter.get_tensor(each["index"]) for each in made]))


def main():
    import paho.mqtt.client as mqtt

    model, path, seconds, port = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    shape = next(frames(path)).shape
    memory = shared_memory.SharedMemory(create=True, size=SLOTS * int(np.prod(shape)))
    free, full, results = (multiprocessing.Queue(SLOTS) for _ in range(3))
    for slot in range(SLOTS):
        free.put(slot)
    parts = [
        multiprocessing.Process(target=read, args=(path, memory.name, shape, free, full), daemon=True),
        multiprocessing.Process(target=infer, args=(model, memory.name, shape, free, full, results), daemon=True),
    ]
    for part in parts:
        part.start()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    count, begun = 0, 0.0
    while True:
        moment, outputs = results.get()
        best = outputs[0].reshape(-1)[:4]
        client.publish("queues/result", json.dumps({"ts": moment, "best": [float(value) for value in best]}))
        count += 1
        if count == 10:  # warm
            begun = time.perf_counter()
        if count > 10 and time.perf_counter() - begun >= seconds:
            break
    print(json.dumps({"rate": (count - 10) / (time.perf_counter() - begun)}))
    for part in parts:
        part.terminate()
    memory.unlink()


if __name__ == "__main__":
    main()
