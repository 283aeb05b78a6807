"""Runs one of OpenStack's stock clients again and again, each run in a process of its own.

A client takes a second to load, and a tenth of it to do its work. So it is loaded once, and each command runs in a fork of that process, by
the very file that Debian installs: with its own arguments, environment, output and exit status.

    preloaded_client.py PROGRAM MODULE…

Beside the modules it loads what openstack looks for in every start: all plugins of its commands.

Reads a JSON object per line: {"id", "argv", "env", "cwd"}; writes one as each command ends, in any order: {"id", "status", "stdout", "stderr"}.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import runpy
import selectors
import shutil
import signal
import sys
import tempfile

COMMAND_SECONDS_MAX = 120
# Nobody types on it. The clients take anything else for the bytes of an image.
_, TERMINAL = os.openpty()
PLUGIN_GROUPS = ("openstack.", "keystoneauth1.plugin", "cliff.formatter")


def main(name, *modules):
    program = shutil.which(name)
    sys.argv = [program]  # The clients read their own name from it when they are loaded.
    for module in modules:
        importlib.import_module(module)
    if name == "openstack":
        load_plugins()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.buffer.raw, selectors.EVENT_READ, Requests(selector, program))
        while selector.get_map():
            for key, _ in selector.select():
                key.data(key.fileobj)


def load_plugins():
    groups = [group for group in importlib.metadata.entry_points().groups if group.startswith(PLUGIN_GROUPS)]
    for group in groups:
        for plugin in importlib.metadata.entry_points(group=group):
            with contextlib.suppress(ImportError, AttributeError):  # Optional ones lack what they need.
                plugin.load()


class Requests:
    def __init__(self, selector, program):
        self.selector = selector
        self.program = program
        self.unread = b""

    def __call__(self, stdin):
        chunk = os.read(stdin.fileno(), 65536)
        if not chunk:
            self.selector.unregister(stdin)
        *lines, self.unread = (self.unread + chunk).split(b"\n")
        for line in lines:
            command = Command(json.loads(line), self.program, self.selector)
            self.selector.register(command.pidfd, selectors.EVENT_READ, command)


class Command:
    def __init__(self, request, program, selector):
        self.id = request["id"]
        self.selector = selector
        self.output = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
        self.pid = os.fork()
        if self.pid == 0:
            become(program, request, [file.fileno() for file in self.output])
        self.pidfd = os.pidfd_open(self.pid)

    def __call__(self, pidfd):
        _, status = os.waitpid(self.pid, 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        stdout, stderr = (read_whole(file) for file in self.output)
        answer = {"id": self.id, "status": os.waitstatus_to_exitcode(status), "stdout": stdout, "stderr": stderr}
        print(json.dumps(answer), flush=True)


def become(program, request, output):
    """In the fork: does what the shell would have started, and never returns."""
    status = 1
    try:
        signal.alarm(COMMAND_SECONDS_MAX)
        os.dup2(TERMINAL, 0)
        os.dup2(output[0], 1)
        os.dup2(output[1], 2)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = [program, *request["argv"]]
        status = run(program)
        sys.stdout.flush()
    finally:
        os._exit(status)


def run(program):
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def read_whole(file):
    with file:
        file.seek(0)
        return file.read().decode(errors="replace")


if __name__ == "__main__":
    main(*sys.argv[1:])
