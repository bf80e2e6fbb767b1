#!/usr/bin/env python3
"""Distributed machines of real kernels: joining, commands, users, and what happens when kernels die."""

import contextlib
import ctypes
import fcntl
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from machine import BUILD, Client, Machine, present, wait_for  # noqa: E402

with_the_library = unittest.skipIf(os.environ.get("MVM_SANITIZE"), "Python is linked without the sanitizer that the library needs")


def names(count):
    return [f"k{i}" for i in range(1, count + 1)]


def grow(machine, count, **settings):
    kernels = [machine.add(name, **settings) for name in names(count)]
    wait_for(lambda: all(len(present(kernel)) == count for kernel in kernels), "all kernels know all")
    return kernels


def voters(kernel, count):
    wait_for(lambda: sum(one["holds-log"] for one in kernel("getvminfo", "members").answer) >= count, f"{count} hold the log")


def server_of(kernels):
    """The kernel that is the status server, as it says itself."""
    for kernel in kernels:
        try:
            about = kernel("getvminfo", "self").answer
            if about["live"] and about["server"] == kernel.name:
                return kernel
        except (OSError, AssertionError):
            continue
    return None


def services(kernel, of):
    found = kernel("getvminfo", "kernel/" + of).answer
    return set(found["services"]) if found else set()


def runs(kernel):
    try:
        with open(os.path.join(kernel.work, "ran")) as text:
            return [line.split()[0] for line in text]
    except FileNotFoundError:
        return []


def wait_for_end(attempt, timeout=20):
    """Tries again until it fails."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        attempt()
        time.sleep(0.02)


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = Machine(voters=3)
        try:
            cls.kernels = grow(cls.machine, 4)
            voters(cls.kernels[0], 3)
        except BaseException:
            cls.machine.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.machine.close()

    def tearDown(self):
        for name in ("guest", "visitor"):
            self.kernels[0]("unload", name, "all", "best-effort")

    def test_load_is_done_on_all_or_none(self):
        k1, k2, k3, k4 = self.kernels
        done = k2("load", "guest", "all", "all-or-none")
        self.assertEqual((done.code, done.able, done.unable), (0, names(4), {}), done)
        self.assertEqual(k3("getvminfo", "services").answer["guest"], names(4))
        refusal = os.path.join(k3.work, "no-visitor")
        open(refusal, "w").close()
        try:
            aborted = k1("load", "visitor", "all", "all-or-none")
            self.assertEqual(aborted.code, 5, aborted)
            self.assertEqual(aborted.able, ["k1", "k2", "k4"])
            self.assertIn("not welcome", aborted.unable["k3"])
            self.assertNotIn("visitor", k1("getvminfo", "services").answer)
            partly = k1("load", "visitor", "all", "best-effort")
            self.assertEqual((partly.code, partly.able), (4, ["k1", "k2", "k4"]), partly)
            self.assertEqual(k1("getvminfo", "services").answer["visitor"], ["k1", "k2", "k4"])
        finally:
            os.unlink(refusal)

    def test_targets_are_names_a_number_or_what_has_attributes(self):
        k1 = self.kernels[0]
        self.assertEqual(k1("load", "guest", "k2,k4").able, ["k2", "k4"])
        self.assertEqual(len(k1("load", "visitor", "3:arch=" + os.uname().machine).able), 3)
        self.assertEqual(k1("load", "visitor", "all:arch=pdp11").code, 5)
        self.assertEqual(k1("load", "visitor", "k1,k9").unable, {"k9": "no such kernel"})
        self.assertEqual(k1("load", "visitor", "K9").code, 2)

    def test_run_and_stop(self):
        k1, k2 = self.kernels[:2]
        self.assertEqual(k1("run", "guest", "k2").code, 5)
        k1("load", "guest")
        ran = k1("run", "guest", "all", "all-or-none", "--", "forever")
        self.assertEqual(ran.code, 0, ran)
        for kernel in self.kernels:
            wait_for(lambda k=kernel: ran.answer["id"] in runs(k), "the plug-in's code runs")
        self.assertIn(ran.answer["id"], k1("getvminfo", "kernel/k2").answer["threads"])
        self.assertEqual(k2("stop", "guest", "all", "all-or-none", "--", ran.answer["id"]).code, 0)
        wait_for(lambda: not k1("getvminfo", "kernel/k2").answer["threads"], "threads have ended")
        once = k1("run", "guest", "k3", "all-or-none", "--", "once")
        wait_for(lambda: not k1("getvminfo", "kernel/k3").answer["threads"], "one that ends by itself is known to have")
        self.assertEqual(once.code, 0)

    def test_core_services_and_others_plugins_stay(self):
        refused = self.kernels[0]("unload", "dvm")
        self.assertEqual(refused.code, 5, refused)
        self.assertEqual(set(services(self.kernels[0], "k1")), {"dvm"})

    def test_users_have_roles(self):
        k1 = self.kernels[0]
        self.assertEqual(Client(k1.socket, "eve", "x").entered.code, 7)
        self.assertEqual(Client(k1.socket, "ada", "x").entered.code, 7)
        stranger = Client(k1.socket, "eve", "x")
        self.assertEqual(stranger("getvminfo", "members").code, 7)
        k1("user", "add", "vera", "viewer", "eyes")
        k1("user", "add", "otto", "operator", "hands")
        vera, otto = Client(k1.socket, "vera", "eyes"), Client(k1.socket, "otto", "hands")
        self.assertEqual(vera("getvminfo", "members").code, 0)
        self.assertEqual(vera("load", "guest").code, 7)
        self.assertEqual(otto("halt").code, 7)
        self.assertEqual(k1("load", "guest", "all", "all-or-none", "--sharing=owners").code, 0)
        taken = otto("run", "guest", "k2", "all-or-none", "--", "once")
        self.assertEqual(taken.code, 5, taken)
        self.assertIn("not shared", taken.unable["k2"])
        self.assertEqual(otto("unload", "guest").code, 5)
        self.assertEqual(otto("load", "visitor").code, 0)
        self.assertEqual(otto("unload", "visitor").code, 0)

    def test_states_of_plugins_are_kept_by_all(self):
        k1, k2 = self.kernels[:2]
        self.assertEqual(k1("state", "put", "farm", "next", "17").code, 0)
        self.assertEqual(k2("getvminfo", "states/farm").answer, {"next": "17"})
        wait_for(lambda: k2("getvminfo", "view/states/farm").answer == {"next": "17"}, "the copy has it")
        k2("state", "put", "farm", "next")
        self.assertEqual(k1("getvminfo", "states/farm").answer, {})

    def test_events_come_in_one_order_to_those_who_follow(self):
        k1, k2, k3, k4 = self.kernels
        self.assertEqual(k4("follow", "visitor").code, 0)
        wait_for(lambda: k4("getvminfo", "self").answer["live"], "k4 follows")
        for name in ("guest", "visitor", "guest"):
            k1("load", name, "k2")
        k1("state", "put", "farm", "done", "yes")
        wait_for(lambda: k3("getvminfo", "view/states/farm").answer.get("done"), "k3 is up to date")

        def numbers(kernel):
            return [one["number"] for one in kernel("getvminfo", "events").answer]

        everything = [n for n in numbers(k2) if n in set(numbers(k3))]
        self.assertEqual(everything, [n for n in numbers(k3) if n in set(numbers(k2))])
        self.assertEqual(sorted(everything), everything)
        followed = k4("getvminfo", "view/services").answer
        self.assertIn("visitor", followed)
        self.assertNotIn("guest", followed)
        k4("follow", "all")
        wait_for(lambda: "guest" in k4("getvminfo", "view/services").answer, "k4 follows all again")
        k1("state", "put", "farm", "done")

    @with_the_library
    def test_library(self):
        library = ctypes.CDLL(os.path.join(BUILD, "lib/libharness.so"))
        for name in ("H_command", "H_register", "H_getvminfo"):
            getattr(library, name).restype = ctypes.c_void_p
        for name in ("H_message", "H_answer", "H_kernel", "H_error"):
            getattr(library, name).restype = ctypes.c_char_p
        library.H_count.restype = ctypes.c_size_t
        # Where the library expects this host's kernel of the machine.
        os.makedirs(os.path.join(self.machine.folder, "h", "lab"), mode=0o700)
        os.symlink(self.kernels[0].run, os.path.join(self.machine.folder, "h", "lab", "run"))
        os.environ["MVM_HARNESS_DIR"] = os.path.join(self.machine.folder, "h")

        def command(*words):
            argv = (ctypes.c_char_p * len(words))(*[word.encode() for word in words])
            result = ctypes.c_void_p(library.H_command(b"lab", len(words), argv))
            found = (library.H_code(result), json.loads(library.H_answer(result)),
                     [library.H_kernel(result, 1, i).decode() for i in range(library.H_count(result, 1))])
            library.H_free(result)
            return found

        self.assertEqual(command("load", "guest")[0], 7)  # nobody has registered
        self.assertEqual(library.H_registerUser(b"lab", b"ada", b"wrong"), 7)
        self.assertEqual(library.H_registerUser(b"lab", b"ada", b"lovelace"), 0, library.H_error())
        self.assertEqual(command("load", "guest", "k1,k9", "best-effort")[::2], (4, ["k9"]))
        self.assertEqual(len(command("getvminfo", "members")[1]), 4)


class Joining(unittest.TestCase):
    @with_the_library
    def test_bootstrap_by_the_library(self):
        """registerUser starts the local kernel of a machine that is not there, and halt ends it."""
        with Machine(vm="solo") as machine:
            program = os.path.join(machine.folder, "app.py")
            with open(program, "w") as out:
                out.write("import ctypes,sys\nl=ctypes.CDLL(sys.argv[1])\nl.H_command.restype=ctypes.c_void_p\n"
                          "l.H_error.restype=ctypes.c_char_p\n"
                          "assert l.H_registerUser(b'solo',b'ada',b'lovelace')==0, l.H_error()\n"
                          "for words in ([b'getvminfo',b'members'],[b'halt']):\n"
                          " r=ctypes.c_void_p(l.H_command(b'solo',len(words),(ctypes.c_char_p*len(words))(*words)))\n"
                          " assert l.H_code(r)==0, l.H_error()\n")
            os.mkdir(os.path.join(machine.folder, "h"), 0o700)
            subprocess.run([sys.executable, program, os.path.join(BUILD, "lib/libharness.so")], check=True,
                           timeout=90, env=dict(os.environ, MVM_HARNESS_DIR=os.path.join(machine.folder, "h"),
                                                MVM_KERNEL=machine.program))
            path = os.path.join(machine.folder, "h/solo/run/harness.sock")
            with self.assertRaises(OSError):
                wait_for_end(lambda: Client(path).close())

    def test_multicast_baseline_and_leave(self):
        with Machine(vm="lan", multicast=True, voters=1, baseline={"recovery": "1"}) as machine:
            k1 = machine.add("k1")
            k1("getvminfo", "members")
            k2 = machine.add("k2", seeds=[])
            wait_for(lambda: len(present(k1)) == 2 and len(present(k2)) == 2, "found by multicast")
            k1("baseline", "recovery/1", "solver/2")
            k3 = machine.add("k3", seeds=[])
            about = wait_for(lambda: (lambda a: a if "rejected" in a["reason"] else None)(k3("getvminfo", "self").answer), "rejected")
            self.assertIn("solver", about["reason"])
            self.assertEqual(present(k1), ["k1", "k2"])
            self.assertEqual(k2("leave").code, 0)
            wait_for(lambda: present(k1) == ["k1"], "k2 has left")

    def test_a_kernel_without_the_secret_is_nobody(self):
        with Machine(vm="lab", voters=1) as machine:
            k1 = machine.add("k1")
            k1("getvminfo", "members")
            machine.secret = "f" * 32
            k2 = machine.add("k2")
            wait_for(lambda: "secret" in k1.log() or k2("getvminfo", "self"), "k2 is up")
            time.sleep(0.5)  # long enough for several attempts
            self.assertEqual(present(k1), ["k1"])
            self.assertFalse(k2("getvminfo", "self").answer["live"])


class Deaths(unittest.TestCase):
    def test_a_lost_kernel_is_known_to_all_and_its_status_kept(self):
        with Machine(voters=1) as machine:
            k1, k2, k3 = grow(machine, 3)
            k1("load", "guest")
            pid = k3.process.pid
            k3.kill_kernel()  # its launcher starts another
            wait_for(lambda: k1("getvminfo", "kernel/k3").answer["lost"] is False and "guest" in services(k1, "k3") and
                     k3("getvminfo", "self").answer["live"], "k3 is back")
            self.assertEqual(k3.process.pid, pid)
            self.assertIn("plugin.loaded name=guest", k3.log().split("restarts=1")[-1] + k3.log()[-4000:])
            k3.kill()
            wait_for(lambda: present(k1) == ["k1", "k2"] and present(k2) == ["k1", "k2"], "all know that k3 is lost")
            aborted = k1("load", "visitor", "all", "all-or-none")
            self.assertEqual((aborted.code, aborted.unable), (5, {"k3": "it is lost"}))
            self.assertEqual(k1("remove", "k3").code, 0)
            self.assertEqual(k1("load", "visitor", "all", "all-or-none").code, 0)

    def test_the_last_one_there_remembers_where_the_others_were(self):
        with Machine(voters=3) as machine:
            k1, k2, k3 = grow(machine, 3)
            voters(k1, 3)
            for kernel in (k2, k3):
                kernel.kill()
            wait_for(lambda: present(k1) == ["k1"], "k1 is alone", 40)
            k1("state", "put", "farm", "key", "value")
            time.sleep(1.5)  # it writes them down once a second
            k1.kill()
            with open(os.path.join(k1.run, "dvm/peers")) as text:
                self.assertEqual(len(text.read().split()), 2)
            k2.start()
            k1.start()
            wait_for(lambda: present(k2) == ["k1", "k2"], "both are there", 40)
            self.assertEqual(k2("getvminfo", "states/farm").answer, {"key": "value"})

    def test_a_dead_copy_is_known_though_its_ports_are_taken(self):
        """Two hold the log, so neither decides without knowing that the other is dead."""
        def greet(taken):
            while True:
                try:
                    caller, _ = taken.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(b"220 mail\r\n")
                    caller.recv(4096)

        with Machine(voters=2) as machine, contextlib.ExitStack() as stack:
            k1, k2 = grow(machine, 2)
            voters(k1, 2)
            with open(os.path.join(k2.run, "dvm/log/self")) as text:
                ports = [json.load(text)["port"]]
            ports.append(int(k1("getvminfo", "kernel/k2").answer["address"].rpartition(":")[2]))
            k1_pid, k2_pid = k1.pid(), k2.pid()
            os.kill(k1_pid, signal.SIGSTOP)  # it does not see the ports free
            k2.kill()
            wait_for(lambda: not os.path.exists(f"/proc/{k2_pid}"), "k2's sockets are closed")
            for port in ports:
                taken = stack.enter_context(socket.create_server(("127.0.0.1", port)))
                greeter = threading.Thread(target=greet, args=(taken,))
                greeter.start()
                stack.callback(greeter.join)
                stack.callback(taken.shutdown, socket.SHUT_RDWR)
            os.kill(k1_pid, signal.SIGCONT)
            wait_for(lambda: k1("state", "put", "farm", "key", "value").code == 0, "k1 decides alone", 40)

    def test_down_to_the_last_kernel(self):
        """The status server dies again and again; what was acknowledged is there to the end. [L8]"""
        with Machine(voters=3, **{"beat-ms": 100}) as machine:
            kernels = grow(machine, 4)
            voters(kernels[0], 3)
            kernels[0]("load", "guest")
            terms, count = set(), 0
            while True:
                left = [one for one in kernels if one.process]
                server = wait_for(lambda: server_of(left), f"a status server among {[one.name for one in left]}", 40)
                about = server("getvminfo", "self").answer
                self.assertNotIn(about["term"], terms)
                terms.add(about["term"])
                count += 1
                self.assertEqual(server("state", "put", "farm", f"key{count}", str(count)).code, 0)
                if len(left) == 1:
                    break
                wait_for(lambda: present(server) == sorted(one.name for one in left), "the dead are known", 40)
                wait_for(lambda: sum(one["holds-log"] and one["state"] == "present"
                                     for one in server("getvminfo", "members").answer) >= min(3, len(left)),
                         "enough hold the log", 40)
                server.kill()
            last = left[0]
            self.assertEqual(last("getvminfo", "states/farm").answer, {f"key{i}": str(i) for i in range(1, 5)})
            self.assertEqual(last("load", "visitor", last.name).code, 0)


class Copies(unittest.TestCase):
    """A kernel that is started again begins, whatever became of its copy of the log, and holds one again."""

    def again(self, kernel, spoil):
        folder = os.path.join(kernel.run, "dvm/log")
        kernel.kill()
        held = spoil(folder)
        kernel.start()
        wait_for(lambda: kernel("getvminfo", "self").answer["live"], "it is there again", 30)
        return held

    def test_a_copy_of_no_use_is_set_aside(self):
        def no_name(folder):
            os.remove(os.path.join(folder, "self"))

        def cut(folder):
            os.truncate(os.path.join(folder, "copy/group"), 40)

        def scribbled(folder):
            for path in glob.glob(os.path.join(folder, "copy/log/metadata*")):
                with open(path, "r+b") as out:
                    out.write(b"\x07" * 16)

        for spoil in (no_name, cut, scribbled):
            with self.subTest(spoil.__name__), Machine() as machine:
                k1, k2, k3 = grow(machine, 3)
                voters(k1, 3)
                k1("state", "put", "farm", "key", "value")
                self.again(k1, spoil)  # the founder: it must not found another machine
                voters(k1, 3)
                self.assertTrue(os.path.isdir(os.path.join(k1.run, "dvm/log.unusable")))
                self.assertIn("dvm.no-log", k1.log())
                self.assertEqual(k1("getvminfo", "states/farm").answer, {"key": "value"})

    def test_a_former_owner_of_the_copy_is_waited_for(self):
        def owned(folder):
            lock = open(os.path.join(folder, "copy/lock"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            return lock

        with Machine() as machine:
            k1, k2, k3 = grow(machine, 3)
            voters(k1, 3)
            lock = self.again(k3, owned)
            wait_for(lambda: "is in use by another process" in k3.log(), "the reason is told")
            self.assertEqual([one["kernel"] for one in k1("getvminfo", "members").answer if one["holds-log"]], ["k1", "k2"])
            lock.close()
            voters(k1, 3)
            self.assertFalse(os.path.exists(os.path.join(k3.run, "dvm/log.unusable")))

    def test_a_port_that_others_have_taken_is_given_up(self):
        def taken(folder):
            with open(os.path.join(folder, "self")) as text:
                port = json.load(text)["port"]
            return wait_for(lambda: socket.create_server(("127.0.0.1", port)), "the port is free")

        with Machine() as machine:
            k1, k2, k3 = grow(machine, 3)
            voters(k1, 3)
            with self.again(k3, taken):
                voters(k1, 3)
            self.assertEqual(k3("load", "guest", "all", "all-or-none").code, 0)

    def test_a_founding_that_was_cut_short_is_done(self):
        for left in ((), ("self",)):
            with self.subTest(left=left), Machine() as machine:
                k1 = machine.add("k1", start=False)
                os.makedirs(os.path.join(k1.run, "dvm/log"))
                if left:
                    with open(os.path.join(k1.run, "dvm/log/self"), "w") as out:
                        json.dump({"id": 4711, "port": 0, "founds": True}, out)
                k1.start()
                wait_for(lambda: k1("getvminfo", "self").answer["live"], "k1 is the status server")


if __name__ == "__main__":
    unittest.main(verbosity=2)
