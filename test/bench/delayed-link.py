"""Two network namespaces, versemi-10.77.0.1 and versemi-10.77.0.2, joined by a link with a delay and a rate: two tun devices and
this program, which keeps each packet until it is due. It needs root, and no queueing discipline of the kernel (netem is not everywhere).
Usage: delayed-link.py DELAY_MS GBIT_PER_S. It prints "ready", and at the end of its input takes the namespaces away.
"""
import collections
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
ADDRESSES = ("10.77.0.1", "10.77.0.2")
delay_s = float(sys.argv[1]) / 1e3
bytes_per_s = float(sys.argv[2]) * 1e9 / 8


def namespace(own, other):
    """The file of a tun device that lies in a new namespace."""
    name, device = f"versemi-{own}", f"vlink{own[-1]}"
    ip = lambda *args: subprocess.run(["ip", *args], check=True)
    ip("netns", "add", name)
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    ip("link", "set", device, "netns", name)
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "addr", "add", own, "peer", other, "dev", device)
    ip("-n", name, "link", "set", device, "mtu", "65000", "txqueuelen", "10000", "up")
    return file


def forward(files):
    waiting = [collections.deque(), collections.deque()]
    free_at = [0.0, 0.0]
    while True:
        due = [queue[0][0] for queue in waiting if queue]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select([*files, sys.stdin], [], [], timeout)
        if sys.stdin in ready:
            return
        for side, file in enumerate(files):
            for _ in range(64 if file in ready else 0):
                try:
                    packet = os.read(file, 65536)
                except BlockingIOError:
                    break
                free_at[side] = max(time.monotonic(), free_at[side]) + len(packet) / bytes_per_s
                waiting[side].append((free_at[side] + delay_s, packet))
            while waiting[side] and waiting[side][0][0] <= time.monotonic():
                try:
                    os.write(files[1 - side], waiting[side].popleft()[1])
                except OSError:
                    pass  # Lost, as on a real link: TCP sends it again.


try:
    files = [namespace(*ADDRESSES), namespace(*ADDRESSES[::-1])]
    print("ready", flush=True)
    forward(files)
finally:
    for address in ADDRESSES:
        subprocess.run(["ip", "netns", "del", f"versemi-{address}"], stderr=subprocess.DEVNULL)
