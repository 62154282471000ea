"""A process that is told things by signals: a child that reports its alarm, its stop, its continuation, its end."""

import os
import signal

reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.close(reader)
    signal.signal(signal.SIGUSR1, lambda *_: os.write(writer, b"usr1\n"))
    signal.signal(signal.SIGALRM, lambda *_: os.write(writer, b"alarm\n"))
    os.write(writer, b"ready\n")
    while True:
        signal.pause()

os.close(writer)
lines = os.fdopen(reader)
print(lines.readline().strip())
os.kill(child, signal.SIGUSR1)
print(lines.readline().strip())
os.kill(child, signal.SIGSTOP)
print("stopped", os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]))
os.kill(child, signal.SIGCONT)
print("continued", os.WIFCONTINUED(os.waitpid(child, os.WCONTINUED)[1]))
os.kill(child, signal.SIGALRM)
print(lines.readline().strip())
os.kill(child, signal.SIGTERM)
status = os.waitpid(child, 0)[1]
print("ended by", signal.Signals(os.WTERMSIG(status)).name)
print("pipe closed", lines.read() == "")
