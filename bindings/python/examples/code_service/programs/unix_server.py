"""An asyncio server on a Unix socket in the scratch dir, and five clients that talk to it at once."""

import asyncio
import os

PATH = "chat.sock"


async def serve(reader, writer):
    """Answers each line reversed, until the client says ``bye``."""
    while line := (await reader.readline()).decode().strip():
        writer.write((line[::-1] + "\n").encode())
        await writer.drain()
        if line == "bye":
            break
    writer.close()


async def talk(number):
    reader, writer = await asyncio.open_unix_connection(PATH)
    answers = []
    for word in [f"client{number}", "level", "stressed", "bye"]:
        writer.write((word + "\n").encode())
        answers.append((await reader.readline()).decode().strip())
    rest = await reader.read()
    writer.close()
    return " ".join(answers) + (" then closed" if rest == b"" else " then garbage")


async def main():
    server = await asyncio.start_unix_server(serve, PATH)
    async with server:
        for line in await asyncio.wait_for(asyncio.gather(*map(talk, range(5))), timeout=20):
            print(line)
    os.unlink(PATH)


asyncio.run(main())
