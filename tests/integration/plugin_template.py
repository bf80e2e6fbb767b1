"""Builds examples/plugin outside of the tree against an installed prefix, and runs it in that prefix's kernel."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=200, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def wait_for(text, file, kernel, seconds=60):
    end = time.monotonic() + seconds
    while text not in file.read_text():
        if time.monotonic() > end or kernel.poll() is not None:
            raise AssertionError(f"no {text!r} in {file}:\n{file.read_text()}")
        time.sleep(0.01)


def check(prefix, kernel_program, template):
    """`prefix` holds the component plugin; the template is built by CMake, and again with pkg-config."""
    with tempfile.TemporaryDirectory(prefix="mvm-plugin-", dir="/tmp") as place:
        folder = pathlib.Path(place)
        os.chmod(folder, 0o755)
        source = folder / "hello"
        shutil.copytree(template, source)
        run("cmake", "-S", source, "-B", source / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
        run("cmake", "--build", source / "build")
        environment = dict(os.environ, PKG_CONFIG_PATH=str(pathlib.Path(prefix) / "lib/pkgconfig"))
        flags = run("pkg-config", "--cflags", "--libs", "mvm-plugin", env=environment).split()
        (source / "by-hand").mkdir()
        run("g++", "-shared", source / "hello.cpp", *flags, "-o", source / "by-hand/hello.so")
        for built in (source / "build", source / "by-hand"):
            out, err = built / "out", built / "err"
            with open(out, "wb") as to, open(err, "wb") as log:
                kernel = subprocess.Popen(
                    [str(kernel_program), "--no-default-plugins", "--plugins", str(built), "--plugin", "hello",
                     "--start", "hello ada grace"],
                    stdout=to, stderr=log, env=dict(os.environ, XDG_RUNTIME_DIR=str(folder)))
            try:
                wait_for("hello ada\nhello grace\n", out, kernel)
                kernel.send_signal(signal.SIGTERM)
                if kernel.wait(timeout=30) != 0:
                    raise AssertionError(err.read_text())
            finally:
                if kernel.poll() is None:
                    kernel.kill()
                    kernel.wait()
