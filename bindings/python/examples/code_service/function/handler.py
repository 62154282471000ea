"""The function of the demonstration: counts words, and leaves traces that only a later holder could see."""

import collections
import os

visits = 0


def handle(event):
    """Answers the commonest words of a text, and how many requests this process and this sandbox have seen."""
    global visits
    visits += 1
    earlier = os.path.exists("trace")
    with open("trace", "w") as file:
        file.write("left behind")
    words = collections.Counter(event["text"].lower().split())
    return {"commonest": words.most_common(event["most"]), "visits": visits, "trace": earlier}
