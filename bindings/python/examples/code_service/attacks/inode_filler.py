"""Fills the writable places with empty files, and says how many fitted."""

import os

for place in ("/scratch", "/tmp", "/dev/shm"):
    made = 0
    try:
        os.mkdir(os.path.join(place, "many"))
        while made < 200_000:
            os.close(os.open(os.path.join(place, "many", str(made)), os.O_CREAT | os.O_WRONLY))
            made += 1
        ended = "no limit"
    except OSError as error:
        ended = f"errno={error.errno}"
    print(f"place={place} files={made} {ended}", flush=True)
