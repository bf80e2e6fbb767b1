"""mvmd serves at a listening socket that was passed to it as systemd does; who connected before is answered."""
import fcntl
import os
import socket
import subprocess
import unittest

from world import MVMD, SOURCE, World, wait_until

PASS = """fd=$1; pid=$2; shift 2; eval "exec 3<&$fd"; export LISTEN_FDS=1 LISTEN_PID=${pid:-$$}; exec "$@" """


class SocketActivation(unittest.TestCase):
    def launch(self, world, listener, pid=""):
        """mvmd with the socket as its descriptor 3, meant for `pid` (itself)."""
        number = fcntl.fcntl(listener, fcntl.F_DUPFD, 5)
        self.assertLess(number, 10)
        world.state.mkdir(exist_ok=True)
        with open(world.folder / "mvmd.log", "ab") as log:
            world.daemon = subprocess.Popen(
                ["sh", "-c", PASS, "sh", str(number), pid, MVMD, "--state", world.state, "--shared-memory", world.rings,
                 "--name", "h1", "--drivers", "process", "--listen", f"127.0.0.1:{world.port}"],
                env=world.environment(), pass_fds=(number,), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        os.close(number)

    def test_the_first_connection_is_not_lost(self):
        with World() as world, socket.socket() as listener, socket.socket() as early:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            early.connect(("127.0.0.1", port))
            early.sendall(b"GET /broker?wsdl HTTP/1.0\r\nHost: localhost\r\n\r\n")
            self.launch(world, listener)
            early.settimeout(60)
            answer = b""
            while piece := early.recv(65536):
                answer += piece
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:200])
            wait_until((world.state / "url").exists, 30, "no url is written")
            self.assertEqual((world.state / "url").read_text(), f"http://127.0.0.1:{port}/\n")
            world.port = port
            self.assertTrue(world.answers())
            world.stop()

    def test_a_socket_meant_for_another_process_is_left_alone(self):
        with World() as world, socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.launch(world, listener, pid=str(os.getpid()))
            wait_until(world.answers, 60, "mvmd does not answer at its own address")
            self.assertEqual((world.state / "url").read_text(), f"http://127.0.0.1:{world.port}/\n")
            world.stop()

    def test_the_units_name_what_there_is(self):
        folder = SOURCE / "packaging/systemd"
        self.assertIn("ListenStream=127.0.0.1:7780", (folder / "mvmd.socket").read_text())
        service = (folder / "mvmd.service").read_text()
        self.assertIn("Requires=mvmd.socket", service)
        self.assertIn("KillMode=process", service)


if __name__ == "__main__":
    unittest.main()
