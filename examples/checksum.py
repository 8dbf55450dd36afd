"""The SHA-256 of a file: the program behind the task `checksum` of tasks.toml.

Reads {"path": "..."} from stdin, writes {"path", "bytes", "sha256"} to stdout and progress to fd 3. Only regular files
under the folder named as the first argument are read, wherever a path or a symbolic link may point.
"""

import hashlib
import json
import os
import stat
import sys

CHUNK_BYTES = 1024 * 1024


def fail(message):
    sys.exit(f"checksum: {message}")


def check_place(path, real, folder):
    if not real.startswith(folder.rstrip("/") + "/"):
        fail(f"{path!r} is not under {folder}")


def open_allowed(path, folder):
    """Opens the file and asks again where it really is, so that nothing can be exchanged between check and use."""
    try:
        check_place(path, os.path.realpath(path), folder)
        # Without O_NONBLOCK, opening a named pipe would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        fail(f"{path!r}: {getattr(error, 'strerror', None) or error}")
    check_place(path, os.readlink(f"/proc/self/fd/{descriptor}"), folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        fail(f"{path!r} is not a regular file")
    return os.fdopen(descriptor, "rb")


def report(fraction):
    try:
        os.write(3, f"{fraction:.3f}\n".encode())
    except OSError:
        pass  # Nobody listens: run by hand.


def main():
    folder = os.path.realpath(sys.argv[1])
    try:
        payload = json.load(sys.stdin)
    except ValueError as error:
        fail(f"the payload is not JSON: {error}")
    path = payload.get("path") if isinstance(payload, dict) else None
    if not isinstance(path, str) or not os.path.isabs(path):
        fail('the payload must be {"path": "..."} with an absolute path')
    digest = hashlib.sha256()
    with open_allowed(path, folder) as file:
        total = os.fstat(file.fileno()).st_size
        done = 0
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            report(min(1.0, done / max(1, total)))
    json.dump({"path": path, "bytes": done, "sha256": digest.hexdigest()}, sys.stdout)


if __name__ == "__main__":
    main()
