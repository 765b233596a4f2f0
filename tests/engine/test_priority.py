"""A thread that does not come back loses its priority, in the locked engine too, and the others keep theirs."""

from __future__ import annotations

from tests.sandbox.locked import run

CODE = """
import ctypes, os, threading
from edge_infer.engine.threads import give_up_priority
libc = ctypes.CDLL(None)
def nice(thread):
    return os.getpriority(os.PRIO_PROCESS, thread.native_id)
def hang():
    libc.pthread_mutex_lock(locked)
def wait_in_python():
    end.wait()
locked, end = ctypes.create_string_buffer(64), threading.Event()
libc.pthread_mutex_lock(locked)
threads = [threading.Thread(target=what, daemon=True) for what in (hang, wait_in_python, wait_in_python)]
for thread in threads:
    thread.start()
before = nice(threading.main_thread())
give_up_priority(threads[0])
give_up_priority(threads[1])
while nice(threads[0]) == before or nice(threads[1]) == before:
    threading.Event().wait(0.01)
print(*(nice(thread) for thread in threads[:2]))
print({nice(thread) - before for thread in (threads[2], threading.main_thread())})
end.set()
for thread in threads[1:]:
    thread.join()
give_up_priority(threads[1])
print("goes on", flush=True)
os._exit(0)
"""


def test_a_thread_that_hangs_gets_the_lowest_priority_and_no_other_does() -> None:
    assert run("engine", CODE).splitlines() == ["19 19", "{0}", "goes on"]
