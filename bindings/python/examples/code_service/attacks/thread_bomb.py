"""Starts threads until it is refused one more, then holds on to all of them."""

import threading

hold = threading.Event()
count = 0
try:
    while count < 5_000:
        threading.Thread(target=hold.wait, daemon=True).start()
        count += 1
    print(f"started={count} and could go on")
except RuntimeError:
    print(f"refused started={count}")
hold.set()
